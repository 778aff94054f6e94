"""One Redis: what a tenant and a subscription weigh, and what its one thread takes for each call of ours."""

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

import redis
from tests.support.servers import HOST, RedisServer

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.results import Growth, Point, compared
from benchmarks.rounds import interleave
from benchmarks.scale.calls import ANY, NAMESPACE, PIPELINED, benchmark, call_of, cost, evaluated, loaded
from benchmarks.scale.measured import MANY, MODELS, Measured, a_second, models_of, once
from cache_revalidate.stores.redis.layout import tenant_key

_GET = "GET of a key that is not there, to compare with"
_READ = f"read, {models_of(MODELS)}"
_PEEK = f"peek at copies, {models_of(MODELS)}"
_MISS = f"peek at copies that are not there, {models_of(MODELS)}"
_BUMP = "bump, 1 model"
_RAISE = f"raise, {models_of(MODELS)}"
_RAISE_ONE = "raise, 1 model"

_LOOKS: tuple[Literal["read", "peek"], ...] = ("read", "peek")
_MAX_STALE = 60.0

_SUBSCRIBERS = (0, 1, 10, 100)
_HOW_MANY_BUMP = {"one after the other": 1, "50 at a time": 50}
"""What is published while Redis is busy goes out together, to each process that hears it."""
_CHANNELS_AT_ONCE = 500
_CONFIRMED = b"\r\nsubscribe\r\n"
_EXPIRING = 3.0
"""Seconds, for a hundred thousand: about as long as it takes to make them."""
_EXPIRED_BY = 60.0


async def measure(bench: Bench) -> Measured:
    """Measure a Redis with a core to itself; figures of its CPU time are interleaved."""
    bench.progress.begin("scale: one Redis")
    found = Measured()
    with cores.on(cores.OTHERS):
        await _weigh_tenants(bench, found)
        await _weigh_subscriptions(bench, found)
        await _calls(bench, found)
        await _publishing(bench, found)
        await _expiring(bench, found)
    return found


@contextmanager
def running() -> Iterator[tuple[RedisServer, redis.Redis]]:
    """Start a server on the measured core, with a client to look into it."""
    with cores.on(cores.MEASURED):
        server = RedisServer().start()
    try:
        with redis.Redis(host=HOST, port=server.port) as client:
            yield server, client
    finally:
        server.close()


def fill(client: redis.Redis, models: Sequence[str], tenants: Sequence[int], expiry: float = 259_200.0) -> float:
    """Bump all models of some tenants; return what one of them adds to Redis' memory, in bytes."""
    client.script_load(call_of("bump", "1", models).script.text)
    client.ping()
    before = used_memory(client)
    for start in range(0, len(tenants), PIPELINED):
        pipeline = client.pipeline(transaction=False)
        for number in tenants[start : start + PIPELINED]:
            call = call_of("bump", str(number), models, expiry=expiry)
            pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.arguments)
        pipeline.execute()
    return (used_memory(client) - before) / len(tenants)


def numbered(tenants: int) -> range:
    """Return so many tenants, all of seven digits."""
    return range(1_000_000, 1_000_000 + tenants)


def used_memory(client: redis.Redis) -> int:
    """Return the bytes that Redis has allocated."""
    return int(client.info("memory")["used_memory"])


async def _weigh_tenants(bench: Bench, found: Measured) -> None:
    figures: dict[str, float] = {}
    for models, part in ((MODELS[:1], 1), (MODELS, 1), (MANY, 10), ([f"m_{number}" for number in range(200)], 100)):
        tenants = max(bench.size.largest // part, 10)
        bench.progress.say(f"bytes of {tenants:,} tenants with {models_of(models)}")
        with running() as (_, client):
            weight = await asyncio.to_thread(fill, client, models, numbered(tenants))
            figures[f"a tenant's hash, {models_of(models)}"] = weight
    of_one, of_tenant, of_many, _ = figures.values()
    notes = {name: f"a million of them: {figure / 1e3:,.2f} GB" for name, figure in figures.items()}
    found.tables.append(once("One Redis: memory", "bytes", figures, notes))
    found.figures |= {"redis_bytes_one": of_one, "redis_bytes": of_tenant, "redis_bytes_many": of_many}


async def _weigh_subscriptions(bench: Bench, found: Measured) -> None:
    """Weigh a channel's first subscriber, and the further ones."""
    channels = max(bench.size.largest // 10, 10)
    names = [tenant_key(NAMESPACE, str(number)) for number in numbered(channels)]
    clients = 10
    bench.progress.say(f"bytes of {channels:,} subscriptions of each of {clients} connections")
    with running() as (server, client), ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((HOST, server.port))) for _ in range(clients)]
        before = used_memory(client)
        await asyncio.to_thread(_subscribe, connections[:1], names)
        after_first = used_memory(client)
        await asyncio.to_thread(_subscribe, connections[1:], names)
        after_all = used_memory(client)
    first, further = (after_first - before) / channels, (after_all - after_first) / channels / (clients - 1)
    figures = {"a channel's first subscription": first, "each further one": further}
    notes = {
        "a channel's first subscription": f"one process that mirrors 10,000 tenants: {first / 100:,.1f} MB",
        "each further one": f"ten such processes, the same tenants: {(first + 9 * further) / 100:,.1f} MB",
    }
    found.tables.append(once("One Redis: subscriptions", "bytes", figures, notes))
    found.figures |= {"redis_first_subscription": first, "redis_subscription": further}


def _subscribe(connections: Sequence[socket.socket], channels: Sequence[str]) -> None:
    for connection in connections:
        for start in range(0, len(channels), _CHANNELS_AT_ONCE):
            some = channels[start : start + _CHANNELS_AT_ONCE]
            connection.sendall(f"SUBSCRIBE {' '.join(some)}\r\n".encode())
            confirmed = b""
            while confirmed.count(_CONFIRMED) < len(some):
                confirmed += connection.recv(1 << 16)


async def _calls(bench: Bench, found: Measured) -> None:
    """Measure all calls that processes make, on tenants that are there, or that are not where that is the point."""
    times = max(bench.size.largest // 20, 10)
    tenants = bench.size.largest
    with running() as (server, _):
        read, peek = (evaluated(call_of(name, ANY, MODELS)) for name in _LOOKS)
        missed = evaluated(call_of("peek", ANY, MODELS, namespace="nobody"))
        one = call_of("bump", ANY, MODELS[:1])
        raised_one = call_of("raise", ANY, MODELS[:1], namespace="cache_revalidate-one", expiry=_MAX_STALE)
        raised = call_of("raise", ANY, MODELS, namespace="cache_revalidate-copies", expiry=_MAX_STALE)
        loaded(server, [one])
        # Each tenant is there before it is read or bumped.
        await benchmark(server, evaluated(call_of("bump", ANY, MODELS)), 3 * tenants, tenants=tenants, pipelined=16)
        commands = {
            _GET: ["GET", ANY],
            _READ: read,
            _PEEK: peek,
            _MISS: missed,
            _BUMP: evaluated(one),
            f"bump, {models_of(MODELS)}": evaluated(call_of("bump", ANY, MODELS)),
            _RAISE_ONE: evaluated(raised_one),
            _RAISE: evaluated(raised),
        }
        # A raise makes copies that are not there: among so many tenants, nearly always.
        of_many = {_RAISE, _RAISE_ONE}
        contestants = {
            name: cost(server, command, times, tenants=tenants * 100 if name in of_many else tenants)
            for name, command in commands.items()
        }
        samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
    notes = {name: a_second(samples.spread(name).median) for name in samples.names}
    found.tables.append(
        compared(
            "One Redis: a call, of 50 connections that wait for each",
            samples,
            _GET,
            unit="µs of CPU",
            name="scale-redis",
            ours=[name for name in samples.names if name != _GET],
            notes=notes,
        )
    )
    of = {name: samples.spread(name).median for name in samples.names}
    found.figures |= {
        "redis_peek": of[_PEEK],
        "redis_miss": of[_MISS],
        "redis_read": of[_READ],
        "redis_bump": of[_BUMP],
        "redis_raise": of[_RAISE],
        "redis_raise_one": of[_RAISE_ONE],
    }


async def _publishing(bench: Bench, found: Measured) -> None:
    """Measure the same bump on tenants whom none, one, ten and a hundred connections listen to."""
    times = max(bench.size.largest // 100, 10)
    with running() as (server, _), ExitStack() as stack:
        call = {number: call_of("bump", f"heard-by-{number}", MODELS[:1]) for number in _SUBSCRIBERS}
        loaded(server, call.values())
        listening = [
            stack.enter_context(socket.create_connection((HOST, server.port)))
            for number in _SUBSCRIBERS
            for _ in range(number)
        ]
        waiting = iter(listening)
        for number in _SUBSCRIBERS:
            for _ in range(number):
                _subscribe([next(waiting)], call[number].keys)
        stack.enter_context(_drained(listening))
        contestants = {
            f"a bump that {_hearing(number)}, {how}": cost(
                server, evaluated(call[number]), times, connections=connections
            )
            for how, connections in _HOW_MANY_BUMP.items()
            for number in _SUBSCRIBERS
        }
        samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
    notes = {name: a_second(samples.spread(name).median) for name in samples.names}
    nobody = samples.names[0]
    found.tables.append(
        compared("One Redis: a bump, and who listens", samples, nobody, unit="µs of CPU", name="", notes=notes)
    )
    lines: dict[str, Sequence[Point]] = {}
    for how in _HOW_MANY_BUMP:
        names = [f"a bump that {_hearing(number)}, {how}" for number in _SUBSCRIBERS]
        lines[how] = [
            Point(number, samples.ratio(name, names[1]))
            for number, name in zip(_SUBSCRIBERS[1:], names[1:], strict=True)
        ]
        delivery = samples.difference(names[-1], names[0]).median / _SUBSCRIBERS[-1]
        found.figures["redis_delivery"] = max(delivery, found.figures.get("redis_delivery", 0.0))
    found.growths.append(Growth("with the processes that hear a bump", "processes", lines, "scale-redis-listeners"))


def _hearing(number: int) -> str:
    return {0: "nobody hears", 1: "1 process hears"}.get(number, f"{number} processes hear")


@contextmanager
def _drained(connections: Sequence[socket.socket]) -> Iterator[None]:
    """Have a thread take whatever comes, so that Redis never has to keep it."""
    over = threading.Event()

    def drain() -> None:
        with selectors.DefaultSelector() as ready:
            for connection in connections:
                ready.register(connection, selectors.EVENT_READ, connection.recv)
            while not over.is_set():
                for key, _ in ready.select(timeout=0.1):
                    key.data(1 << 16)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def _expiring(bench: Bench, found: Measured) -> None:
    """Let tenants expire whom nobody asks for again: what that costs, and how long Redis takes."""
    tenants = bench.size.largest
    expiry = max(_EXPIRING * tenants / 100_000, 1.0)
    bench.progress.say(f"{tenants:,} tenants expire")
    with running() as (server, client):
        await asyncio.to_thread(fill, client, MODELS, numbered(tenants), expiry)
        left, before, began = int(client.dbsize()), cpu_seconds(server.process_id), time.monotonic()
        while client.dbsize():
            if time.monotonic() > began + _EXPIRED_BY:
                raise RuntimeError(f"{client.dbsize()} of {tenants} keys had not expired within {_EXPIRED_BY:g} s")
            await asyncio.sleep(0.1)
        taken = cpu_seconds(server.process_id) - before
    figures = {"a tenant that expires": taken / left * 1_000_000}
    notes = {"a tenant that expires": f"{left:,} of them were gone after {time.monotonic() - began:.1f} s"}
    found.tables.append(once("One Redis: expiry", "µs of CPU", figures, notes))
    found.figures["redis_expiry"] = taken / left * 1_000_000
