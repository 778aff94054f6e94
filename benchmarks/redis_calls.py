"""What Redis is asked for: calls for a read of tokens and for a commit, and what our script call costs."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from tests.support.servers import RedisServer

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.committing import TABLES, App, Base, Label
from benchmarks.results import Goal, Part, Row, Table, compared
from benchmarks.rounds import Operation, Spread, interleave, timed
from cache_revalidate import RedisStore, Revalidator, Store
from cache_revalidate_sqlalchemy import DurableStore, attach

NAME = "redis"
TITLE = "Redis: calls for a read and for a bump, and what one costs"

_COUNTED = 100
_WARMING = 20
_REPEATED = 10
_END = "end-of-count"
_KEEPING = {"CLIENT", "HELLO", "PING", "SUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "SUNSUBSCRIBE"}
"""What opens a connection, keeps it alive and a mirror informed: once a while or once a tenant."""

_READ = "read of one tenant's tokens"
_DURABLE_READ = "read of one tenant's tokens, durable"
_COMMIT = "commit of one change, level 1"
_DURABLE_COMMIT = "commit of one change, durable"
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
                _READ: await _calls(client, lambda: revalidator.tokens(1)),
                "bump of one model": await _calls(client, lambda: revalidator.bump(1, "label")),
                "bump of three models of two tenants": await _calls(
                    client, lambda: revalidator.bump_many({1: revalidator.models, 2: revalidator.models})
                ),
            }
            for name, store in {_COMMIT: RedisStore.from_url(server.url), _DURABLE_COMMIT: None}.items():
                async with _committing(server, store) as (commit, read):
                    counts[name] = await _calls(client, commit)
                    if store is None:
                        counts[_DURABLE_READ] = await _calls(client, read)
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
            Table("Redis calls for one", "calls", rows, ""),
            compared("one script call", samples, _RAW, unit="µs", name="", ours=[_OURS]),
        ],
        goals=[
            Goal("Redis calls for a mirrored read", 0.0, counts[_READ]),
            Goal("Redis calls for a mirrored read, durable", 0.0, counts[_DURABLE_READ]),
            Goal("Redis calls for a commit, level 1", 1.0, counts[_COMMIT]),
            Goal("Redis calls for a commit, durable", 1.0, counts[_DURABLE_COMMIT]),
            Goal("our script call, against a raw EVALSHA", 1.5, samples.ratio(_OURS, _RAW).median),
        ],
    )


@asynccontextmanager
async def _connected(server: RedisServer) -> AsyncIterator[tuple[redis.asyncio.Redis, Revalidator]]:
    client = redis.asyncio.Redis.from_url(server.url)
    revalidator = Revalidator(["inbox", "label", "team"], RedisStore.from_url(server.url))
    async with revalidator.lifespan():
        await client.ping()
        yield client, revalidator
    await client.aclose()


@asynccontextmanager
async def _committing(server: RedisServer, store: Store | None) -> AsyncIterator[tuple[Operation, Operation]]:
    """Give what commits one change on SQLite, and what reads its tokens; durable, unless there is a store."""
    with tempfile.TemporaryDirectory() as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/bench.db")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(insert(Label).values(id=1, account_id=1))
        durable = DurableStore(engine, TABLES, RedisStore.from_url(server.url))
        revalidator = Revalidator(["label"], store or durable, namespace="committing")
        sessions = async_sessionmaker(engine)
        attachment = attach(revalidator, sessions, {Label: "account_id"})
        async with revalidator.lifespan():
            yield App(sessions, revalidator).commit, App(sessions, revalidator).read
        attachment.detach()
        await engine.dispose()


async def _calls(client: redis.asyncio.Redis, operation: Operation) -> float:
    """Return how many commands are sent to Redis for one operation, by MONITOR, once a mirror has had time to fill."""
    for _ in range(_WARMING):
        await operation()
        await asyncio.sleep(0.01)
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
            # redis-py joins the arguments by spaces; none of ours has one, but one is empty.
            if (words := seen["command"].split(" "))[0].upper() == "EVALSHA":
                break

    async def send() -> None:
        await client.evalsha(words[1], int(words[2]), *words[3:])

    return send
