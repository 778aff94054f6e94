"""How long it takes from a bump in one process until another process reads the new token, against a raw PUBLISH."""

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import redis.asyncio
from tests.support.servers import RedisServer

from benchmarks import cores, watcher
from benchmarks.bench import Bench
from benchmarks.environments import REPOSITORY
from benchmarks.results import Goal, Part, compared
from benchmarks.rounds import Contestant, interleave
from cache_revalidate import RedisStore, Revalidator

NAME = "visibility"
TITLE = "From a bump to the token in another process"

_RAW = "raw PUBLISH from a script, until the message is there"
_OURS = "`revalidator.bump`, until `revalidator.tokens` shows it"
_SCRIPT = "return redis.call('PUBLISH', ARGV[1], ARGV[2])"
_TIMEOUT = 10.0

_Send: TypeAlias = Callable[[int], Awaitable[str]]
"""Has something seen by the watcher, and returns what it will say."""


async def measure(bench: Bench) -> Part:
    """Measure with a watching process on a core to itself."""
    bench.progress.begin(NAME)
    with cores.on(cores.OTHERS), RedisServer() as server:
        async with _senders(server.url) as (bump, publish):
            contestants = {
                _RAW: _seen("messages", server.url, publish, bench.size.operations),
                _OURS: _seen("tokens", server.url, bump, bench.size.operations),
            }
            samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress, warm_up=False)
    return Part(
        NAME,
        TITLE,
        tables=[compared("p50 of each round", samples, _RAW, unit="µs", name="visibility", ours=[_OURS])],
        goals=[
            Goal("bump to token in another process, p50, against a raw PUBLISH", 1.3, samples.ratio(_OURS, _RAW).median)
        ],
    )


@asynccontextmanager
async def _senders(url: str) -> AsyncIterator[tuple[_Send, _Send]]:
    revalidator = Revalidator([watcher.MODEL], RedisStore.from_url(url))
    client = redis.asyncio.Redis.from_url(url)
    script = await client.script_load(_SCRIPT)

    async def bump(_: int) -> str:
        return (await revalidator.bump(watcher.TENANT, watcher.MODEL))[watcher.MODEL]

    async def publish(number: int) -> str:
        await client.evalsha(script, 0, watcher.CHANNEL, str(number))
        return str(number)

    async with revalidator.lifespan():
        yield bump, publish
    await client.aclose()


def _seen(way: str, url: str, send: _Send, times: int) -> Contestant:
    """Return the contestant whose sample is the median of some sendings, in µs, with a watcher of its own."""

    async def sample() -> float:
        async with _watching(way, url) as watching:
            await _said(watching)
            return statistics.median([await _once(watching, send, number) for number in range(-2, times)][2:])

    return sample


async def _once(watching: asyncio.StreamReader, send: _Send, number: int) -> float:
    started = time.monotonic_ns()
    sent = await send(number)
    while True:
        seen_at, said = await _said(watching)
        if said == sent:
            return (seen_at - started) / 1_000


async def _said(watching: asyncio.StreamReader) -> tuple[int, str]:
    async with asyncio.timeout(_TIMEOUT):
        line = (await watching.readline()).decode()
    if not line:
        raise RuntimeError("the watching process has ended")
    seen_at, _, said = line.rstrip("\n").partition(" ")
    return int(seen_at), said


@asynccontextmanager
async def _watching(way: str, url: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *cores.pinned(cores.MEASURED),
        *(sys.executable, "-m", "benchmarks.watcher", way, url),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
