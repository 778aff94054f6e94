"""Who listens to a durable store hears of commits, by the copies that are raised after them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label
from adapters.sqlalchemy.tests.durable.databases import Database, empty, revalidator_on
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import MemoryStore, Revalidator
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.testing.ear import Ear, listening, until
from cache_revalidate_sqlalchemy import DurableStore, Triggers, attach

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from tests.support.servers import RedisServer

GetDatabase = Callable[..., Database]
ROOT = Path(__file__).parents[4]


@pytest.fixture
def engine(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    with shared_database("psycopg").sync_engine("psycopg") as engine:
        empty(engine)
        yield engine


@asynccontextmanager
async def heard(revalidator: Revalidator, ear: Ear) -> AsyncIterator[None]:
    """Run the app with one who listens to tenant 1, and is told all."""
    async with revalidator.lifespan(), listening(revalidator.store, revalidator.keyspace, ear) as is_told:
        assert is_told
        yield


@asynccontextmanager
async def attached(engine: Engine, revalidator: Revalidator) -> AsyncIterator[sessionmaker[Session]]:
    """Give sessions whose commits are noted."""
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED)
    yield sessions
    attachment.detach()


def write(sessions: sessionmaker[Session]) -> None:
    """Commit a label of tenant 1, and one of another's."""
    with sessions.begin() as session:
        session.add_all([Label(account_id=1), Label(account_id=2)])


@pytest.mark.parametrize("copied", ["memory", "redis"])
async def test_a_commit_is_heard(copied: str, engine: Engine, redis_server_own: RedisServer) -> None:
    """What this process commits is heard, with the token that is read from then on."""
    copy = MemoryStore() if copied == "memory" else RedisStore.from_url(redis_server_own.url)
    revalidator, ear = revalidator_on(DurableStore(engine, TABLES, copy)), Ear()
    async with heard(revalidator, ear), attached(engine, revalidator) as sessions:
        for _ in range(3):
            await asyncio.to_thread(write, sessions)
            tokens = await revalidator.tokens(1, "label")
            await until(lambda: ear.tokens == tokens, "the commit is heard")  # noqa: B023


async def test_what_is_in_doubt_is_heard(engine: Engine, redis_server_own: RedisServer) -> None:
    """Where a transaction may be committed a little later, the tokens are heard to be forgotten."""
    store = DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url))
    revalidator, ear = revalidator_on(store), Ear()
    async with heard(revalidator, ear):
        await store.fold(revalidator.keyspace, {"1": ["label"]}, in_doubt=True)
        await until(lambda: ear.tokens == {"label": ""}, "the doubt is heard")


async def test_every_tenants_change_is_heard(engine: Engine, redis_server_own: RedisServer) -> None:
    """A change of all tenants is heard by who listens to one."""
    store = DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url))
    revalidator, ear = revalidator_on(store), Ear()
    async with heard(revalidator, ear):
        before = await revalidator.tokens(1, "label")
        await until(lambda: ear.tokens == before, "what is looked up first is heard")
        with engine.begin() as connection:
            store.note(revalidator.keyspace, connection, {"*": {"label"}})
        await revalidator.fold_many({"*": {"label"}})
        tokens = await revalidator.tokens(1, "label")
        assert tokens != before
        await until(lambda: ear.tokens == tokens, "the change is heard")


async def test_another_process_commit_is_heard(
    engine: Engine, shared_database: GetDatabase, redis_server_own: RedisServer
) -> None:
    """What another process commits, in code without an event loop, is heard."""
    store = DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url))
    revalidator, ear = revalidator_on(store), Ear()
    command = [sys.executable, __file__, shared_database("psycopg").url("psycopg"), redis_server_own.url]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "adapters/sqlalchemy/src")))
    environment = {**os.environ, "PYTHONPATH": paths}
    async with heard(revalidator, ear):
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        tokens = json.loads(done.stdout)
        await until(lambda: ear.tokens == tokens, "the commit is heard")


async def test_a_write_from_outside_is_heard(engine: Engine, redis_server_own: RedisServer) -> None:
    """What somebody writes in SQL is heard when a sweeper has folded what the triggers have noted."""
    store = DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url), sweep_every=0.05)
    revalidator, ear = revalidator_on(store), Ear()
    triggers = Triggers(revalidator, TABLES, ATTACHED)
    with engine.begin() as connection:
        triggers.create(connection)
    try:
        async with heard(revalidator, ear):
            for title in "ab":
                with engine.begin() as connection:
                    connection.exec_driver_sql(f"INSERT INTO labels (account_id, title) VALUES (1, '{title}')")
                before = dict(ear.tokens)
                await until(lambda: ear.tokens != before, "the write is heard")  # noqa: B023
                assert ear.tokens == await revalidator.tokens(1, "label")
    finally:
        with engine.begin() as connection:
            triggers.drop(connection)


async def test_without_copies_nothing_is_heard(engine: Engine) -> None:
    """A store without copies tells nothing, and says so."""
    revalidator, ear = revalidator_on(DurableStore(engine, TABLES)), Ear()
    async with revalidator.lifespan():
        assert not revalidator.store.listen(revalidator.keyspace, "1", ear)
        revalidator.store.leave(revalidator.keyspace, "1", ear)
        assert not ear.is_told


def commit(url: str, redis: str) -> None:
    """Commit, as another process, and print the token."""
    engine = create_engine(url)
    store = DurableStore(engine, TABLES, RedisStore.from_url(redis))
    revalidator = revalidator_on(store)
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attach(revalidator, sessions, ATTACHED)
    write(sessions)
    sys.stdout.write(json.dumps(store.fold_sync(revalidator.keyspace, {"1": ["label"]})["1"]))
    engine.dispose()


if __name__ == "__main__":
    commit(*sys.argv[1:])
