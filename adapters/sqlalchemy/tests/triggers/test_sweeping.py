"""Writes from outside the app reach Redis by the sweepers of the app's processes, which share the work."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from adapters.sqlalchemy.tests.desk import TABLES
from sqlalchemy import Engine, MetaData, event, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.fixtures import PostgresDatabase
from tests.support.servers import PostgresServer, RedisServer

from cache_revalidate import Keyspace, RedisStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, Triggers, add_tables

BOUND = 2.0
"""Seconds within which a write has to show: two intervals of half a second and a fold, and a busy machine."""

SPACE = Keyspace("cache_revalidate", 60.0)

pytestmark = pytest.mark.usefixtures("triggers")


@contextmanager
def sweeping(database: PostgresDatabase, redis: RedisServer, how_many: int) -> Iterator[None]:
    """Run a process of the app with some sweepers."""
    script = Path(__file__).with_name("sweeping.py")
    folders = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[4] / "src")]
    with subprocess.Popen(
        [sys.executable, str(script), database.url("asyncpg"), redis.url, str(how_many)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == b"sweeping\n"
            yield
        finally:
            process.stdin.close()
    assert process.returncode == 0


@pytest_asyncio.fixture
async def copies(redis_server_own: RedisServer) -> AsyncIterator[RedisStore]:
    """Give the copies of tokens in a Redis of this test's own."""
    store = RedisStore.from_url(redis_server_own.url)
    yield store
    await store.aclose()


async def shown(copies: RedisStore, tenants: range, models: list[str], before: dict[str, dict[str, str]]) -> float:
    """Wait until each tenant's copies are there and other than before; return how many seconds that took."""
    began = time.monotonic()
    left = [str(tenant) for tenant in tenants]
    while left and time.monotonic() - began < 10 * BOUND:
        await asyncio.sleep(0.02)
        held = {tenant: await copies.peek(SPACE, tenant, models) for tenant in left}
        left = [t for t in left if any(held[t].get(m) in {None, before.get(t, {}).get(m)} for m in models)]
    return time.monotonic() - began


async def test_a_write_from_outside_reaches_redis(
    postgres_server: PostgresServer,
    postgres_database: PostgresDatabase,
    redis_server_own: RedisServer,
    copies: RedisStore,
) -> None:
    """What psql commits is in Redis within the stated bound, again and again, with two processes of the app."""
    url = make_url(postgres_database.url("psycopg"))
    psql = [postgres_server._program("psql"), "-X", "-q", "-h", "127.0.0.1", "-p", str(url.port), "-U", "postgres"]
    with sweeping(postgres_database, redis_server_own, 1), sweeping(postgres_database, redis_server_own, 1):
        before: dict[str, dict[str, str]] = {}
        for title in "abcd":
            statement = f"INSERT INTO labels (account_id, title) VALUES (1, '{title}')"
            subprocess.run([*psql, "-d", postgres_database.name, "-c", statement], check=True)
            assert await shown(copies, range(1, 2), ["label"], before) < BOUND
            before = {"1": await copies.peek(SPACE, "1", ["label"])}


async def test_many_sweepers_share_the_work(
    engine: Engine,
    run: Callable[..., None],
    postgres_database: PostgresDatabase,
    redis_server_own: RedisServer,
    copies: RedisStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Twenty sweepers fold 200 pairs that they all find, each pair once, without an error or a deadlock."""
    with (
        sweeping(postgres_database, redis_server_own, 10),
        sweeping(postgres_database, redis_server_own, 10),
        caplog.at_level(logging.WARNING, "cache_revalidate"),
    ):
        run("INSERT INTO labels (account_id, title) SELECT g, 'x' FROM generate_series(1, 100) g")
        run("INSERT INTO inboxes (account_id, name) SELECT g, 'x' FROM generate_series(1, 100) g")
        assert await shown(copies, range(1, 101), ["label", "inbox"], {}) < BOUND
        assert pending(engine) == 0
    assert caplog.records == []
    with engine.connect() as connection:
        folded = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'cache_revalidate_versions'"
        assert connection.scalar(text(folded)) == 200
        failed = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.scalar(text(failed)) == 0


async def test_every_tenant_is_swept(
    run: Callable[..., None], postgres_database: PostgresDatabase, redis_server_own: RedisServer, copies: RedisStore
) -> None:
    """A TRUNCATE raises the tokens of all tenants that have some."""
    run("INSERT INTO labels (account_id, title) SELECT g, 'x' FROM generate_series(1, 30) g")
    with sweeping(postgres_database, redis_server_own, 2):
        await shown(copies, range(1, 31), ["label"], {})
        before = {str(tenant): await copies.peek(SPACE, str(tenant), ["label"]) for tenant in range(1, 31)}
        run("TRUNCATE labels CASCADE")
        assert await shown(copies, range(1, 31), ["label"], before) < BOUND


async def test_an_idle_sweeper_asks_one_thing(postgres_database: PostgresDatabase) -> None:
    """While nothing is pending a sweep is one statement, outside of a transaction."""
    engine = create_async_engine(postgres_database.url("asyncpg"))
    statements: list[str] = []
    sweeps = asyncio.Semaphore(0)

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def executed(*arguments: Any) -> None:
        statements.append(arguments[2])
        sweeps.release()

    store = DurableStore(engine, add_tables(MetaData()), sweep_every=0.01)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        await stack.enter_async_context(Revalidator(["label"], store).lifespan())
        statements.clear()
        async with asyncio.timeout(10):
            for _ in range(20):
                await sweeps.acquire()
    assert {statement.split("(")[0] for statement in statements} == {"SELECT max"}


async def test_tenants_that_nobody_can_ask_for(
    engine: Engine, run: Callable[..., None], postgres_database: PostgresDatabase, redis_server_own: RedisServer
) -> None:
    """A tenant that is none for `canonical_tenant` fails no write, and no sweep that comes after it."""
    run("ALTER TABLE labels ALTER COLUMN account_id TYPE text")
    bad = ["", " ", "a b", "é", "*", "a\nb", "a\n", "x" * 129, "a'b", "%s", "a/b"]
    for tenant in bad:
        run("INSERT INTO labels (account_id, title) VALUES (:tenant, 'x')", tenant=tenant)
    assert pending(engine) == 0
    run("INSERT INTO labels (account_id, title) VALUES (:tenant, 'x')", tenant="y" * 128)
    assert pending(engine) == 1
    with sweeping(postgres_database, redis_server_own, 1):
        deadline = time.monotonic() + 10
        while pending(engine) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
    assert pending(engine) == 0


def pending(engine: Engine) -> int:
    """Return how many pending rows there are."""
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {TABLES.pending.name}")) or 0)


def test_the_names_are_the_desks(triggers: Triggers) -> None:
    """The processes of these tests use the desk's namespace."""
    assert triggers.namespace == SPACE.namespace
