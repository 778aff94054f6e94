"""From a commit in one process to a client of another, against a raw PUBLISH to a subscriber that writes."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import TypeAlias

import redis.asyncio
from tests.support.servers import HOST, RedisServer, Server

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.contestants.feed import MODELS
from benchmarks.contestants.push_floor import CHANNEL
from benchmarks.environments import PUSH, MissingEnvironmentError
from benchmarks.push.crowd import WORD
from benchmarks.push.crowded import Program, opening, server
from benchmarks.push.lineup import OURS, Contestant
from benchmarks.results import Part, compared
from benchmarks.rounds import Samples, interleave
from cache_revalidate import RedisStore, Revalidator

_RAW = "raw PUBLISH from a script, a subscriber writes to a socket"
_OURS = "`revalidator.bump`, an SSE client of another process"
_SCRIPT = "return redis.call('PUBLISH', ARGV[1], ARGV[2])"
_TIMEOUT = 10.0
_REPEATED = 5
"""Bumps for each operation of the size: a p99 wants many."""

_Send: TypeAlias = Callable[[], Awaitable[object]]


async def measure(bench: Bench) -> Part:
    """Measure with the bumping process and the client on one core, and the telling process on another."""
    part = Part("across", "across")
    times = bench.size.operations * _REPEATED
    with cores.on(cores.OTHERS), ExitStack() as stack:
        redis_server = stack.enter_context(RedisServer())
        try:
            python = bench.environments.python(PUSH)
            floor = stack.enter_context(Program(python, "push_floor", str(redis_server.port)))
            env = {"BENCH_REDIS_URL": redis_server.url}
            app = server(bench.environments, Contestant(OURS, "push_ours:redis", is_factory=True), env)
            stack.enter_context(app)
        except (MissingEnvironmentError, RuntimeError, OSError) as error:
            part.missing.append(f"{_OURS}: {str(error).strip().splitlines()[-1]}")
            return part
        async with _senders(redis_server.url) as (publish, bump):
            halves, ends = await _measured(bench, {_RAW: (floor, publish), _OURS: (app, bump)}, times)
    part.tables += [
        compared(
            "commit to client across two processes, p50 of each round",
            halves,
            _RAW,
            unit="µs",
            name="push-across",
            ours=[_OURS],
        ),
        compared(
            "commit to client across two processes, p99 of each round",
            ends,
            _RAW,
            unit="µs",
            name="push-across-p99",
            ours=[_OURS],
        ),
    ]
    return part


async def _measured(bench: Bench, ways: dict[str, tuple[Server, _Send]], times: int) -> tuple[Samples, Samples]:
    """Return the p50 and the p99 of each round."""
    ends: dict[str, list[float]] = {name: [] for name in ways}
    contestants, writers = {}, []
    for name, (told, send) in ways.items():
        reader, writer = await asyncio.open_connection(HOST, told.port)
        writers.append(writer)  # or its connection would be closed
        writer.write(opening("sse").encode())
        await _told(reader)

        async def sample(name: str = name, reader: asyncio.StreamReader = reader, send: _Send = send) -> float:
            taken = sorted([await _once(reader, send) for _ in range(times)])
            ends[name].append(taken[int((times - 1) * 0.99)])
            return statistics.median(taken)

        contestants[name] = sample
    halves = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress, warm_up=False)
    for writer in writers:
        writer.close()
    return halves, Samples(ends)


async def _once(reader: asyncio.StreamReader, send: _Send) -> float:
    """Return the µs from before the sending until the client has read the event."""
    started = time.perf_counter_ns()
    sending = asyncio.ensure_future(send())
    await _told(reader)
    taken = (time.perf_counter_ns() - started) / 1_000
    await sending
    return taken


async def _told(reader: asyncio.StreamReader) -> bytes:
    """Read until an event is there."""
    data = b""
    async with asyncio.timeout(_TIMEOUT):
        while WORD not in data:
            more = await reader.read(65_536)
            if not more:
                raise RuntimeError("a server has ended its stream")
            data += more
    return data


@asynccontextmanager
async def _senders(url: str) -> AsyncIterator[Sequence[_Send]]:
    revalidator = Revalidator([*MODELS], RedisStore.from_url(url))
    client = redis.asyncio.Redis.from_url(url)
    script = await client.script_load(_SCRIPT)

    async def publish() -> object:
        return await client.evalsha(script, 0, CHANNEL, "17959876543210121234")

    async def bump() -> object:
        return await revalidator.bump(1, "label")

    async with revalidator.lifespan():
        yield publish, bump
    await client.aclose()
