"""A pool of one connection: nothing waits for a connection that is its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, Team
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending, empty, revalidator_on
from sqlalchemy import Engine, NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import Revalidator, StoreError
from cache_revalidate_sqlalchemy import DurableStore, attach

GetDatabase = Callable[..., Database]
ONE = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
SOON = 3.0
"""Seconds in which all of a test is done, far below the pool's time-out and the time limits of commits added up."""
SYNC = ["sqlite3", "psycopg", "pymysql"]
ASYNC = ["aiosqlite", "psycopg_async", "asyncpg", "aiomysql"]
JOINED = ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]


@contextmanager
def soon(seconds: float = SOON) -> Iterator[None]:
    """Assert that a block takes no longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@pytest.fixture
def watching(shared_database: GetDatabase, driver: str) -> Iterator[Engine]:
    """Give an engine of the test's own, beside the small pool, to look and to read tokens with."""
    with shared_database(driver).sync_engine(driver, poolclass=NullPool) as engine:
        empty(engine)
        yield engine


@pytest.fixture
def engine(watching: Engine, shared_database: GetDatabase, driver: str) -> Iterator[Engine]:
    """Give an engine with one connection."""
    with shared_database(driver).sync_engine(driver, **ONE) as engine:
        yield engine


@pytest.fixture
async def async_engine(watching: Engine, shared_database: GetDatabase, driver: str) -> AsyncIterator[AsyncEngine]:
    """Give an asynchronous engine with one connection."""
    async with shared_database(driver).async_engine(driver, **ONE) as engine:
        yield engine


def tokens(engine: Engine) -> dict[str, str]:
    """Return the label tokens of three tenants, as a process beside this one reads them."""
    revalidator = revalidator_on(DurableStore(engine, TABLES))

    async def read() -> dict[str, str]:
        return {tenant: (await revalidator.tokens(tenant, "label"))["label"] for tenant in "123"}

    return asyncio.run(read())


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the tenants whose tokens have grown; no others may have changed."""
    assert all(after[tenant] >= before[tenant] for tenant in before)
    return {tenant for tenant in before if after[tenant] != before[tenant]}


@contextmanager
def attached(engine: Engine | AsyncEngine, sessions: Any) -> Iterator[Revalidator]:
    """Attach a store on an engine to sessions."""
    revalidator = revalidator_on(DurableStore(engine, TABLES))
    attachment = attach(revalidator, sessions, ATTACHED, timeout=0.3)
    yield revalidator
    attachment.detach()


@pytest.mark.parametrize("driver", SYNC)
def test_sync_commits(engine: Engine, watching: Engine, driver: str) -> None:
    """Commits of one and of several tenants, some in a savepoint, are all folded in time."""
    before = tokens(watching)
    sessions = sessionmaker(engine)
    with attached(engine, sessions), soon():
        with sessions() as session:
            session.add(Label(account_id=1))
            session.commit()
            session.add_all([Label(account_id=1), Label(account_id=2), Team(account_id=3)])
            with session.begin_nested():
                session.add(Label(account_id=2))
            session.commit()
        assert count_pending(watching) == 0
    assert changed(before, tokens(watching)) == {"1", "2"}


@pytest.mark.parametrize("driver", ASYNC)
async def test_async_commits(async_engine: AsyncEngine, watching: Engine, driver: str) -> None:
    """So are those of an asynchronous session, which closes before its commit waits."""
    before = await asyncio.to_thread(tokens, watching)
    sessions = async_sessionmaker(async_engine)
    with attached(async_engine, sessions), soon():
        async with sessions() as session:
            session.add(Label(account_id=1))
            await session.commit()
            session.add_all([Label(account_id=1), Label(account_id=2)])
            async with session.begin_nested():
                session.add(Team(account_id=2))
            await session.commit()
        assert count_pending(watching) == 0
    assert changed(before, await asyncio.to_thread(tokens, watching)) == {"1", "2"}


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("mode", JOINED)
@pytest.mark.parametrize("driver", SYNC)
def test_sync_joined(engine: Engine, watching: Engine, driver: str, mode: Any, commits: bool) -> None:
    """A session that was joined to an outer transaction is folded when that commits, and never if it does not."""
    before = tokens(watching)
    sessions: sessionmaker[Session] = sessionmaker(engine, join_transaction_mode=mode)
    with attached(engine, sessions), soon():
        with engine.connect() as connection, connection.begin() as outer:
            with sessions(bind=connection) as session:
                session.add_all([Label(account_id=1), Label(account_id=2)])
                session.commit()
                if mode == "create_savepoint":
                    session.add(Label(account_id=2))
                    session.rollback()
            if mode != "control_fully":
                assert count_pending(watching) == 0
                assert changed(before, tokens(watching)) == set()
                outer.commit() if commits else outer.rollback()
        deadline = time.monotonic() + SOON
        while count_pending(watching) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert count_pending(watching) == 0
    expected = {"1", "2"} if commits or mode == "control_fully" else set()
    assert changed(before, tokens(watching)) == expected


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("mode", JOINED)
@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"])
async def test_async_joined(async_engine: AsyncEngine, watching: Engine, driver: str, mode: Any, commits: bool) -> None:
    """So is an asynchronous one."""
    before = await asyncio.to_thread(tokens, watching)
    sessions = async_sessionmaker(async_engine, join_transaction_mode=mode)
    with attached(async_engine, sessions), soon():
        async with async_engine.connect() as connection, connection.begin() as outer:
            async with sessions(bind=connection) as session:
                session.add(Label(account_id=1))
                await session.commit()
            if mode != "control_fully":
                await (outer.commit() if commits else outer.rollback())
        deadline = time.monotonic() + SOON
        while count_pending(watching) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert count_pending(watching) == 0
    expected = {"1"} if commits or mode == "control_fully" else set()
    assert changed(before, await asyncio.to_thread(tokens, watching)) == expected


@pytest.mark.parametrize("driver", SYNC)
def test_sync_autocommit(engine: Engine, watching: Engine, driver: str) -> None:
    """What AUTOCOMMIT makes durable at once is noted and folded, though the session keeps the only connection."""
    before = tokens(watching)
    sessions = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    with attached(engine, sessions), soon():
        with sessions() as session:
            session.add(Label(account_id=1))
            session.flush()
            session.rollback()
        deadline = time.monotonic() + SOON
        while changed(before, tokens(watching)) != {"1"}:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("driver", ["psycopg_async", "asyncpg", "aiomysql"])
async def test_async_autocommit(async_engine: AsyncEngine, watching: Engine, driver: str) -> None:
    """So it is in an asynchronous session."""
    before = await asyncio.to_thread(tokens, watching)
    sessions = async_sessionmaker(async_engine.execution_options(isolation_level="AUTOCOMMIT"))
    with attached(async_engine, sessions), soon():
        async with sessions() as session:
            session.add(Label(account_id=1))
            await session.flush()
            await session.rollback()
        deadline = time.monotonic() + SOON
        while changed(before, await asyncio.to_thread(tokens, watching)) != {"1"}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"])
async def test_a_read_beside_the_only_connection_ends(async_engine: AsyncEngine, driver: str) -> None:
    """A read of tokens while the request's own session holds the only connection is a StoreError in time."""
    revalidator = revalidator_on(DurableStore(async_engine, TABLES, timeout=0.2))
    async with async_sessionmaker(async_engine)() as session:
        await session.connection()
        with soon(), pytest.raises(StoreError, match="give DurableStore an engine of its own"):
            await revalidator.tokens(1)
    assert set(await revalidator.tokens(1, "label")) == {"label"}
