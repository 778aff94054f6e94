"""One process of an app: what its copies of tokens weigh, and what it costs to keep them current."""

import asyncio
import gc
import os
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tests.support.servers import RedisServer

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.environments import REPOSITORY
from benchmarks.results import Table, compared
from benchmarks.rounds import Contestant, Samples, interleave
from benchmarks.scale.measured import MANY, MODELS, Measured, a_second, models_of, once
from cache_revalidate import MemoryStore, RedisStore, Revalidator

_MIRRORED_FOR = 30.0
"""Seconds: longer than a round takes, and half of what it takes until nobody listens for a tenant any more."""
_AT_ONCE = 100
_HEARD_BY = 60.0
_NAMESPACE = "cache_revalidate"
_NAMESPACE_OF_MANY = "cache_revalidate-many"

_FIRST, _SUBSCRIBING, _HOLDING = "the first read", "the second, which subscribes", "the third, which is held"


async def measure(bench: Bench) -> Measured:
    """Measure with a real Redis on the other core."""
    with cores.on(cores.OTHERS):
        server = RedisServer()
        server.start()
    try:
        bench.progress.begin("scale: one process")
        with cores.on(cores.MEASURED):
            found = Measured()
            await _weigh(bench, server, found)
            await _begin(bench, server, found)
            await _keep_current(bench, server, found)
    finally:
        server.close()
    return found


async def _weigh(bench: Bench, server: RedisServer, found: Measured) -> None:
    tenants = max(bench.size.largest // 50, 10)
    bench.progress.say("bytes of a mirrored tenant")
    tokens = _memory_of(tenants * len(MODELS))
    figures = {
        "a token of `MemoryStore`": await tokens,
        f"a mirrored tenant, {models_of(MODELS)}": await _mirrored_bytes(server, MODELS, tenants),
        f"a mirrored tenant, {models_of(MANY)}": await _mirrored_bytes(server, MANY, max(tenants // 10, 10)),
    }
    of_token, of_tenant, of_many = figures.values()
    most = RedisStore.from_url(server.url)._mirroring._tenants
    notes = {name: f"{most:,} of them: {figure * most / 1e6:,.0f} MB" for name, figure in figures.items()}
    notes["a token of `MemoryStore`"] = f"250,000 of them: {of_token * 250_000 / 1e6:,.0f} MB"
    found.tables.append(once("One process: what it holds", "bytes", figures, notes))
    found.figures |= {"process_bytes": of_tenant, "process_bytes_many": of_many}


async def _memory_of(tokens: int) -> float:
    """Return the bytes of one token in a `MemoryStore`, by what Python has allocated."""
    store = MemoryStore()
    filling = Revalidator(MODELS, store)

    async def fill() -> None:
        for tenant in range(tokens // len(MODELS)):
            await filling.tokens(1_000_000 + tenant)

    return await _allocated(fill) / (tokens // len(MODELS) * len(MODELS))


async def _mirrored_bytes(server: RedisServer, models: Sequence[str], tenants: int) -> float:
    """Return the bytes that a process has for each tenant that it mirrors: tokens, subscription, order of use."""
    async with _mirroring(server, models) as (revalidator, store):
        for _ in range(3):
            await _read_all(revalidator, 10)

        async def mirror() -> None:
            for _ in range(3):
                await _read_all(revalidator, tenants, first=1_000_000)
            await _settled(store, tenants + 10)
            await _read_all(revalidator, tenants, first=1_000_000)

        return await _allocated(mirror) / tenants


async def _allocated(fill: Callable[[], Awaitable[None]]) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await fill()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


async def _begin(bench: Bench, server: RedisServer, found: Measured) -> None:
    """Measure what it costs this process until a tenant is mirrored, and how long that takes for ten thousand."""
    tenants = max(bench.size.largest // 10, 10)
    bench.progress.say(f"{tenants:,} subscriptions")
    taken: dict[str, list[float]] = {}
    seconds = 0.0
    async with _mirroring(server, MODELS) as (revalidator, store):
        for name in (_FIRST, _SUBSCRIBING, _HOLDING):
            began, began_at = time.process_time_ns(), time.monotonic()
            await _read_all(revalidator, tenants)
            if name == _SUBSCRIBING:
                await _settled(store, tenants)
                seconds = time.monotonic() - began_at
            taken[name] = [(time.process_time_ns() - began) / tenants / 1_000]
    samples = Samples(taken)
    notes = {_SUBSCRIBING: f"{tenants:,} tenants: {seconds:.1f} s"}
    found.tables.append(
        compared(
            "One process: reads until a tenant is mirrored", samples, _FIRST, unit="µs of CPU", name="", notes=notes
        )
    )
    found.figures["process_subscribing"] = samples.difference(_SUBSCRIBING, _FIRST).median


async def _keep_current(bench: Bench, server: RedisServer, found: Measured) -> None:
    """Measure what one event costs that is heard, and one read that is answered from what is held."""
    tenants = max(bench.size.largest // 100, 10)
    times = max(bench.size.largest // 20, 10)
    async with (
        _mirroring(server, MODELS) as few,
        _mirroring(server, MANY, _NAMESPACE_OF_MANY) as many,
    ):
        for revalidator, store in (few, many):
            for _ in range(3):
                await _read_all(revalidator, tenants)
            await _settled(store, tenants)
        contestants: dict[str, Contestant] = {
            "an event heard, 1 model": _heard(server, few, MODELS[:1], tenants, times),
            f"an event heard, {models_of(MODELS)}": _heard(server, few, MODELS, tenants, times),
            f"an event heard, {models_of(MANY)}": _heard(server, many, MANY, tenants, times // 5),
            f"a read that is held, {models_of(MODELS)}": _held(few[0], tenants, times),
            f"a read that is held, {models_of(MANY)}": _held(many[0], tenants, times),
        }
        samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
    found.tables.append(_table(samples))
    event, _, event_many, held, _ = (samples.spread(name).median for name in samples.names)
    found.figures |= {"process_event": event, "process_event_many": event_many, "process_held": held}


def _table(samples: Samples) -> Table:
    notes = {name: a_second(samples.spread(name).median) for name in samples.names}
    first, *_ = samples.names
    return compared(
        "One process: once it is mirrored", samples, first, unit="µs of CPU", name="scale-process", notes=notes
    )


def _heard(
    server: RedisServer, mirrored: tuple[Revalidator, RedisStore], models: Sequence[str], tenants: int, times: int
) -> Contestant:
    """Return the contestant that hears a flood of bumps; a sample is this process's CPU time for one, in µs."""
    revalidator, store = mirrored

    async def sample() -> float:
        await _read_all(revalidator, tenants)  # or nobody would listen for them any more
        expected = store.mirror_stats.events + times
        arguments = [str(server.port), revalidator.keyspace.namespace, str(tenants), ",".join(models), str(times)]
        flood = await asyncio.create_subprocess_exec(
            *cores.pinned(cores.OTHERS),
            *(sys.executable, "-m", "benchmarks.scale.bumper", *arguments),
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        began = time.process_time_ns()
        async with asyncio.timeout(_HEARD_BY):
            while store.mirror_stats.events < expected:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)
        taken = time.process_time_ns() - began
        if await flood.wait():
            raise RuntimeError("the bumps that were to be heard failed")
        return taken / times / 1_000

    return sample


def _held(revalidator: Revalidator, tenants: int, times: int) -> Contestant:
    """Return the contestant that reads what is held; a sample is the CPU time of one read, in µs."""

    async def sample() -> float:
        await _read_all(revalidator, tenants)  # whatever was not held any more
        began = time.process_time_ns()
        for number in range(times):
            await revalidator.tokens(1 + number % tenants)
        return (time.process_time_ns() - began) / times / 1_000

    return sample


@asynccontextmanager
async def _mirroring(
    server: RedisServer, models: Sequence[str], namespace: str = _NAMESPACE
) -> AsyncIterator[tuple[Revalidator, RedisStore]]:
    store = RedisStore.from_url(server.url, mirrored_for=_MIRRORED_FOR)
    revalidator = Revalidator(models, store, namespace=namespace)
    async with revalidator.lifespan():
        yield revalidator, store


async def _read_all(revalidator: Revalidator, tenants: int, *, first: int = 1) -> None:
    for start in range(first, first + tenants, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, first + tenants))
        await asyncio.gather(*(revalidator.tokens(number) for number in numbers))


async def _settled(store: RedisStore, tenants: int) -> None:
    """Wait until a tenant's subscriptions are confirmed: a ping that is answered then comes after them."""
    async with asyncio.timeout(_HEARD_BY):
        while store.mirror_stats.tenants < tenants or any(  # noqa: ASYNC110
            entry._known[0].believed_until == 0
            for mirror in store._mirroring._mirrors.values()
            for entry in mirror._entries.values()
        ):
            await asyncio.sleep(0.005)
