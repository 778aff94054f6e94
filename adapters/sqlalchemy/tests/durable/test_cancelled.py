"""A task that is cancelled, wherever its transaction is: its connection goes back, and no token stays too old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending, empty, revalidator_on
from sqlalchemy import Engine, event, func, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util import await_only
from tests.support.proxy import Proxy

from cache_revalidate import Keyspace, MemoryStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, attach

GetDatabase = Callable[..., Database]
Sessions = async_sessionmaker[AsyncSession]
KEYSPACE = Keyspace("cache_revalidate", 60)


@pytest.fixture(params=["asyncpg", "psycopg_async", "aiosqlite"])
def driver(request: pytest.FixtureRequest) -> str:
    """Give the name of each asynchronous driver whose cancellations differ."""
    return str(request.param)


@pytest.fixture
def watching(shared_database: GetDatabase, driver: str) -> Iterator[Engine]:
    """Give an engine to look with."""
    with shared_database(driver).sync_engine(driver) as engine:
        empty(engine)
        yield engine


@pytest.fixture
async def engine(watching: Engine, shared_database: GetDatabase, driver: str) -> AsyncIterator[AsyncEngine]:
    """Give the app's engine, with two connections."""
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}
    async with shared_database(driver).async_engine(driver, **options) as engine:
        yield engine


@contextmanager
def attached(engine: AsyncEngine, copy: MemoryStore | None = None) -> Iterator[tuple[Revalidator, Sessions]]:
    """Attach a store to sessions."""
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    sessions = async_sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED)
    yield revalidator, sessions
    attachment.detach()


class Gate:
    """Holds a task where it comes by, until it is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._is_open = False

    def hold(self) -> None:
        """Hold the first who comes by; from within a greenlet of SQLAlchemy's."""
        if not self._is_open:
            self._is_open = True
            self.reached.set()
            await_only(asyncio.sleep(60))


def hold_statements(engine: AsyncEngine, beginning: str) -> Gate:
    """Hold the first statement that begins so."""
    gate = Gate()

    def execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(beginning):
            gate.hold()

    event.listen(engine.sync_engine, "before_cursor_execute", execute)
    return gate


async def token(revalidator: Revalidator) -> str:
    """Return the token of one tenant's labels."""
    return (await revalidator.tokens(1, "label"))["label"]


def count_labels(engine: Engine) -> int:
    """Return how many labels are committed."""
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Label)) or 0


async def write(sessions: Sessions) -> None:
    """Commit a label."""
    async with sessions() as session:
        session.add(Label(account_id=1))
        await session.commit()


async def cancel_at(gate: Gate, task: asyncio.Task[None]) -> None:
    """Cancel a task when it is held."""
    await asyncio.wait_for(gate.reached.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def is_whole(engine: AsyncEngine, watching: Engine, revalidator: Revalidator, sessions: Sessions) -> None:
    """Assert that all connections are back, and that commits go on and are folded."""
    deadline = asyncio.get_running_loop().time() + 5
    while engine.pool.checkedout():  # type: ignore[attr-defined]
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    before = await token(revalidator)
    for _ in range(3):
        await write(sessions)
    assert await token(revalidator) > before
    assert count_pending(watching) == 0


@pytest.mark.parametrize("statement", ["INSERT INTO labels", f"INSERT INTO {TABLES.pending.name}"])
async def test_before_the_commit(engine: AsyncEngine, watching: Engine, statement: str) -> None:
    """Cancelled in its flush or while it notes what it touched, a transaction is rolled back and bumps nothing."""
    with attached(engine) as (revalidator, sessions):
        before = await token(revalidator)
        gate = hold_statements(engine, statement)
        await cancel_at(gate, asyncio.create_task(write(sessions)))
        assert count_labels(watching) == count_pending(watching) == 0
        assert await token(revalidator) == before
        await is_whole(engine, watching, revalidator, sessions)


async def test_a_session_goes_on_after_a_cancelled_commit(engine: AsyncEngine, watching: Engine) -> None:
    """A session whose commit was cancelled while it was noted is used again after a rollback."""
    with attached(engine) as (revalidator, sessions):
        before = await token(revalidator)
        gate = hold_statements(engine, f"INSERT INTO {TABLES.pending.name}")
        async with sessions() as session:
            session.add(Label(account_id=1))
            await cancel_at(gate, asyncio.create_task(session.commit()))
            await session.rollback()
            session.add(Label(account_id=1))
            await session.commit()
        assert await token(revalidator) > before
        assert count_labels(watching) == 1
        await is_whole(engine, watching, revalidator, sessions)


async def test_before_its_commit_is_sent(engine: AsyncEngine, watching: Engine) -> None:
    """Cancelled when COMMIT was announced and not sent, its outcome is in doubt: all goes on, and tokens are right."""
    copy = MemoryStore()
    with attached(engine, copy) as (revalidator, sessions):
        before = await token(revalidator)
        gate = Gate()
        event.listen(engine.sync_engine, "commit", lambda _: gate.hold())
        await cancel_at(gate, asyncio.create_task(write(sessions)))
        await is_whole(engine, watching, revalidator, sessions)
        assert await token(revalidator) > before
        assert count_labels(watching) == 3


async def test_during_the_fold(engine: AsyncEngine, watching: Engine) -> None:
    """Cancelled while it waits for its fold, the commit ends well, the fold goes on, and the next await ends."""
    with attached(engine) as (revalidator, sessions):
        before = await token(revalidator)
        gate = Gate()
        is_open = asyncio.Event()

        def execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith(("SELECT cache_revalidate_fold", "SELECT cache_revalidate_versions")):
                gate.reached.set()
                await_only(is_open.wait())

        event.listen(engine.sync_engine, "before_cursor_execute", execute)
        committed = asyncio.Event()

        async def write_and_go_on() -> None:
            async with sessions() as session:
                session.add(Label(account_id=1))
                await session.commit()
                committed.set()
                await asyncio.sleep(60)

        await cancel_at(gate, asyncio.create_task(write_and_go_on()))
        assert committed.is_set()
        assert count_labels(watching) == 1
        is_open.set()
        assert await token(revalidator) > before
        await is_whole(engine, watching, revalidator, sessions)


class SlowCopies(MemoryStore):
    """Copies whose raises wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Gate | None = None
        self.is_open = asyncio.Event()

    async def raise_tokens(self, keyspace: Keyspace, tokens: Any) -> dict[str, dict[str, str]]:
        """Wait, and raise."""
        if self.gate is not None:
            self.gate.reached.set()
            await self.is_open.wait()
        return await super().raise_tokens(keyspace, tokens)


async def test_during_the_push(engine: AsyncEngine, watching: Engine) -> None:
    """Cancelled while its token is being raised, the commit ends well and the raise is made all the same."""
    copy = SlowCopies()
    with attached(engine, copy) as (revalidator, sessions):
        before = await token(revalidator)
        copy.gate = Gate()

        async def write_and_go_on() -> None:
            await write(sessions)
            await asyncio.sleep(60)

        await cancel_at(copy.gate, asyncio.create_task(write_and_go_on()))
        assert count_pending(watching) == 0
        assert await copy.peek(KEYSPACE, "1", ["label"]) == {"label": before}
        copy.is_open.set()
        now = await token(revalidator)
        assert now > before
        assert await copy.peek(KEYSPACE, "1", ["label"]) == {"label": now}
        await is_whole(engine, watching, revalidator, sessions)


@asynccontextmanager
async def proxied(engine: Engine, driver: str, proxy: Proxy) -> AsyncIterator[AsyncEngine]:
    """Give an engine whose connections go through a proxy."""
    async with proxy.serving() as port:
        url = make_url(str(engine.url.render_as_string(hide_password=False))).set(
            drivername=f"postgresql+{driver}", port=port
        )
        through = create_async_engine(url)
        yield through
        await through.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg_async"])
async def test_while_it_waits_for_its_commit(watching: Engine, driver: str) -> None:
    """Cancelled when COMMIT was sent and its answer kept back, the transaction is folded and its copies are dropped."""
    copy = MemoryStore()
    proxy = Proxy(str(watching.url.host), int(watching.url.port or 0))
    async with proxied(watching, driver, proxy) as engine:
        with attached(engine, copy) as (revalidator, sessions):
            before = await token(revalidator)
            proxy.hold_after = b"COMMIT;" if driver == "asyncpg" else b"COMMIT\0"  # and not READ COMMITTED
            task = asyncio.create_task(write(sessions))
            await asyncio.wait_for(proxy.held.wait(), 5)
            assert await copy.peek(KEYSPACE, "1", ["label"]) == {"label": before}
            task.cancel()
            proxy.cut()
            with pytest.raises((asyncio.CancelledError, DBAPIError)):
                await task
            assert count_labels(watching) == 1
            deadline = asyncio.get_running_loop().time() + 5
            while count_pending(watching) or await copy.peek(KEYSPACE, "1", ["label"]):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)
            assert await token(revalidator) > before
            await is_whole(engine, watching, revalidator, sessions)
