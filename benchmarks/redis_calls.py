"""What Redis is asked for: calls for each read of tokens and each commit, and what our script call costs."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from tests.support.servers import RedisServer

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.results import Goal, Part, Row, Table, compared
from benchmarks.rounds import Operation, Spread, interleave, timed
from cache_revalidate import RedisStore, Revalidator

NAME = "redis"
TITLE = "Redis: calls for a read and for a bump, and what one costs"

_COUNTED = 100
_MIRRORED_BY = 10.0
_REPEATED = 10
_END = "end-of-count"
_KEEPING = {"CLIENT", "HELLO", "PING", "SUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "SUNSUBSCRIBE"}
"""What opens a connection, keeps it alive and a mirror informed: once a while or once a tenant."""

_RAW = "EVALSHA of the same script by redis-py alone"
_OURS = "`revalidator.bump` of one model"


async def measure(bench: Bench) -> Part:
    """Count on a real Redis, which this process has to itself; then time the script call."""
    bench.progress.begin(NAME)
    with cores.on(cores.OTHERS):
        server = RedisServer()
        server.start()
    try:
        async with _connected(server) as (client, revalidator):
            counts = {
                "reads of tokens": await _calls(client, lambda: revalidator.tokens(1)),
                "bumps of one model": await _calls(client, lambda: revalidator.bump(1, "label")),
                "bumps of three models of two tenants": await _calls(
                    client, lambda: revalidator.bump_many({1: revalidator.models, 2: revalidator.models})
                ),
            }
            raw = await _raw(client, server, revalidator)
            operations = bench.size.operations * _REPEATED
            samples = await interleave(
                {_RAW: timed(raw, operations), _OURS: timed(lambda: revalidator.bump(1, "label"), operations)},
                rounds=bench.size.rounds,
                progress=bench.progress,
            )
    finally:
        server.close()
    rows = [Row(name, Spread.of([count]), None, is_ours=True) for name, count in counts.items()]
    return Part(
        NAME,
        TITLE,
        tables=[
            Table("Redis calls for each of", "calls", rows, ""),
            compared("one script call", samples, _RAW, unit="µs", name="", ours=[_OURS]),
        ],
        goals=[
            Goal("Redis calls for a mirrored read", 0.0, counts["reads of tokens"]),
            Goal("Redis calls for a commit's bump", 1.0, counts["bumps of one model"]),
            Goal("our script call, against a raw EVALSHA", 1.5, samples.ratio(_OURS, _RAW).median),
        ],
    )


@asynccontextmanager
async def _connected(server: RedisServer) -> AsyncIterator[tuple[redis.asyncio.Redis, Revalidator]]:
    client = redis.asyncio.Redis.from_url(server.url)
    store = RedisStore.from_url(server.url)
    revalidator = Revalidator(["inbox", "label", "team"], store)
    async with revalidator.lifespan():
        await client.ping()
        await revalidator.bump(1, "label")
        async with asyncio.timeout(_MIRRORED_BY):
            while not store.mirror_stats.hits:
                await revalidator.tokens(1)
                await asyncio.sleep(0.01)
        yield client, revalidator
    await client.aclose()


async def _calls(client: redis.asyncio.Redis, operation: Operation) -> float:
    """Return how many commands are sent to Redis for one operation, by MONITOR."""
    await operation()
    async with client.monitor() as monitor:
        for _ in range(_COUNTED):
            await operation()
        await client.echo(_END)
        sent = 0
        while _END not in (seen := await monitor.next_command())["command"]:
            is_command = seen["client_type"] != "lua" and seen["command"].split()[0].upper() not in _KEEPING
            sent += is_command
    return sent / _COUNTED


async def _raw(client: redis.asyncio.Redis, server: RedisServer, revalidator: Revalidator) -> Operation:
    """Return the operation that sends again, by redis-py alone, the very call that a bump has sent."""
    async with redis.asyncio.Redis.from_url(server.url).monitor() as monitor:
        await revalidator.bump(1, "label")
        while True:
            seen = await monitor.next_command()
            # redis-py joins the arguments by spaces; none of ours has one.
            if (words := shlex.split(seen["command"]))[0].upper() == "EVALSHA":
                break

    async def send() -> None:
        await client.evalsha(words[1], int(words[2]), *words[3:])

    return send
