"""Async sessions: the bump is awaited before `commit()` returns, for a limited time, and is never lost."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from adapters.sqlalchemy.tests.desk import ATTACHED, Inbox, InboxMember, Label, RecordingStore, new_revalidator
from sqlalchemy import event, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from cache_revalidate import Revalidator, StoreError
from cache_revalidate_sqlalchemy import attach

Sessions = async_sessionmaker[AsyncSession]
Bumped = Callable[[], set[str]]


class SlowStore(RecordingStore):
    """A store whose async bumps wait for a gate; its synchronous door is never to be used."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.error: Exception | None = None

    async def bump(self, keyspace: Any, changes: Any) -> Any:
        """Wait, then bump or fail."""
        self.waiting.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return super().bump_sync(keyspace, changes)

    def bump_sync(self, keyspace: Any, changes: Any) -> Any:
        """Refuse: an async session awaits."""
        raise AssertionError("the synchronous door was used in a greenlet")


@pytest.fixture
def slow() -> SlowStore:
    """Give a store that hangs until its gate is opened."""
    return SlowStore()


@pytest.fixture
def revalidator(slow: SlowStore) -> Revalidator:
    """Give a revalidator on the slow store."""
    return new_revalidator(slow)


@pytest_asyncio.fixture
async def slow_sessions(any_async_engine: AsyncEngine, revalidator: Revalidator) -> AsyncIterator[Sessions]:
    """Give attached sessions that wait 50 ms for the slow store."""
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(revalidator, sessions, ATTACHED, timeout=0.05)
    yield sessions
    attachment.detach()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds, for at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_commit_returns_when_the_bump_is_done(any_async_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 12: who commits reads his own write: the token is new as soon as `commit()` has returned."""
    async with any_async_sessions() as session:
        session.add(Label(account_id=1))
        await session.commit()
        assert store.bumps == [{"label 1"}]


async def test_an_async_sessionmaker_is_attached_by_its_synchronous_class(
    any_async_sessions: Sessions, bumped: Bumped
) -> None:
    """Fact 11: the listeners are on a class of the sessionmaker's own, never on the global Session."""
    async with any_async_sessions() as session:
        assert type(session.sync_session) is not Session
        assert isinstance(session.sync_session, Session)
    async with AsyncSession(any_async_sessions.kw["bind"]) as session:
        session.add(Label(account_id=1))
        await session.commit()
    assert bumped() == set()


async def test_expired_objects_are_moved_without_a_word(any_async_sessions: Sessions, bumped: Bumped) -> None:
    """Fact 6: the old tenant is read in the flush: setting it on an expired object needs no greenlet of its own."""
    async with any_async_sessions() as session:
        inbox = Inbox(account_id=1)
        session.add(inbox)
        await session.commit()
        bumped()
        inbox.account_id = 2
        await session.commit()
        assert bumped() == {"inbox 1", "inbox 2"}
        other = Inbox(account_id=3)
        session.add(other)
        await session.flush()
        session.add(InboxMember(inbox_id=other.id))
        await session.commit()
        assert bumped() == {"inbox 3"}


async def test_rollbacks_and_savepoints_are_followed(any_async_sessions: Sessions, store: RecordingStore) -> None:
    """Facts 1 to 4, through the greenlet."""
    async with any_async_sessions() as session:
        session.add(Label(account_id=1))
        async with session.begin_nested() as savepoint:
            session.add(Label(account_id=2))
            await savepoint.rollback()
        async with session.begin_nested():
            session.add(Label(account_id=3))
        assert store.bumps == []
        await session.commit()
        assert store.bumps == [{"label 1", "label 3"}]
        session.add(Label(account_id=4))
        await session.flush()
        await session.close()
        await session.commit()
    assert store.bumps == [{"label 1", "label 3"}]


async def test_bulk_statements_of_async_sessions_bump(any_async_sessions: Sessions, bumped: Bumped) -> None:
    """A bulk UPDATE is judged and bumped in the greenlet as elsewhere."""
    async with any_async_sessions.begin() as session:
        await session.execute(update(Label).where(Label.account_id == 1).values(title="x"))
    assert bumped() == {"label 1"}


async def test_run_sync_awaits(slow_sessions: Sessions, slow: SlowStore) -> None:
    """Fact 20: inside `run_sync` there is a greenlet, so the bump is awaited there."""
    slow.gate.set()

    def work(session: Session) -> None:
        session.add(Label(account_id=1))
        session.commit()
        assert slow.bumps == [{"label 1"}]

    async with slow_sessions() as session:
        await session.run_sync(work)


async def test_a_slow_store_holds_a_commit_for_the_time_limit_alone(
    slow_sessions: Sessions, slow: SlowStore, revalidator: Revalidator, caplog: pytest.LogCaptureFixture
) -> None:
    """Fact 12: `commit()` returns at the limit, says so in the log, and the bump goes on."""
    async with slow_sessions() as session:
        session.add(Label(account_id=1))
        async with asyncio.timeout(5):
            await session.commit()
        assert slow.bumps == []
        assert "the bump goes on" in caplog.text
        assert await session.scalar(select(Label.account_id)) == 1
    slow.gate.set()
    await eventually(lambda: slow.bumps)
    assert slow.bumps == [{"label 1"}]
    assert revalidator.stats.failed_bumps == 0


async def test_a_bump_that_nobody_waits_for_is_held_on_to(any_async_engine: AsyncEngine) -> None:
    """Fact 12: the event loop holds its tasks weakly; a bump is not garbage, whoever has stopped waiting for it."""

    class Silent(RecordingStore):
        async def bump(self, keyspace: Any, changes: Any) -> Any:
            await asyncio.get_running_loop().create_future()

    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(new_revalidator(Silent()), sessions, ATTACHED, timeout=0.01)
    async with sessions.begin() as session:
        session.add(Label(account_id=1))
    gc.collect()
    (bump,) = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    bump.cancel()
    await asyncio.wait({bump})
    attachment.detach()


async def test_the_connection_is_back_in_the_pool_while_the_bump_is_awaited(
    any_async_engine: AsyncEngine, revalidator: Revalidator, slow: SlowStore
) -> None:
    """Fact 12: a store that hangs does not hold a connection of the pool."""
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(revalidator, sessions, ATTACHED, timeout=60)
    returned = asyncio.Event()
    event.listen(any_async_engine.sync_engine, "checkin", lambda *_: returned.set())

    async def commit() -> None:
        async with sessions.begin() as session:
            session.add(Label(account_id=1))

    committing = asyncio.create_task(commit())
    await slow.waiting.wait()
    await asyncio.wait_for(returned.wait(), 5)
    assert not committing.done()
    slow.gate.set()
    await committing
    attachment.detach()


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("a bug in the store")])
async def test_a_failing_store_does_not_reach_the_commit(
    slow_sessions: Sessions,
    slow: SlowStore,
    revalidator: Revalidator,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Fact 9: the failure is logged and counted; the session goes on and the bump is owed."""
    slow.gate.set()
    slow.error = error
    async with slow_sessions() as session:
        session.add(Label(account_id=1))
        await session.commit()
        assert revalidator.stats.failed_bumps == 1
        assert [record.levelno for record in caplog.records if record.name == "cache_revalidate"] == [logging.ERROR]
        slow.error = None
        session.add(Label(account_id=2))
        await session.commit()
    assert slow.bumps == [{"label 1", "label 2"}]


async def test_a_cancellation_loses_no_bump_and_is_not_lost_itself(
    any_async_engine: AsyncEngine, revalidator: Revalidator, slow: SlowStore
) -> None:
    """Fact 12: cancelled while the bump is awaited, `commit()` still ends well; the next await is cancelled."""
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(revalidator, sessions, ATTACHED, timeout=60)
    committed = asyncio.Event()

    async def commit() -> None:
        async with sessions() as session:
            session.add(Label(account_id=1))
            await session.commit()
            committed.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(commit())
    await slow.waiting.wait()
    await asyncio.sleep(0.05)
    task.cancel("no longer wanted")
    with pytest.raises(asyncio.CancelledError, match="no longer wanted"):
        await task
    assert committed.is_set()
    slow.gate.set()
    await eventually(lambda: slow.bumps)
    assert slow.bumps == [{"label 1"}]
    attachment.detach()


async def test_a_time_limit_of_the_app_around_a_commit_still_works(
    any_async_engine: AsyncEngine, revalidator: Revalidator, slow: SlowStore
) -> None:
    """Fact 12: `asyncio.timeout` counts cancellations; the one that waited is counted once."""
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(revalidator, sessions, ATTACHED, timeout=60)
    async with sessions() as session:
        session.add(Label(account_id=1))

        async def commit() -> None:
            async with asyncio.timeout(0.2):
                await session.commit()
                await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await commit()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        assert await session.scalar(select(Label.account_id)) == 1
    slow.gate.set()
    await eventually(lambda: slow.bumps)
    attachment.detach()


async def test_a_cancelled_bump_is_owed(
    slow_sessions: Sessions, slow: SlowStore, revalidator: Revalidator, caplog: pytest.LogCaptureFixture
) -> None:
    """A bump that the end of its event loop cancels is logged, counted and owed."""
    async with slow_sessions.begin() as session:
        session.add(Label(account_id=1))
    (bump,) = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    bump.cancel()
    await asyncio.wait({bump})
    assert revalidator.stats.failed_bumps == 1
    assert "it is owed" in caplog.text
    slow.gate.set()
    await revalidator.bump(2, "label")
    assert slow.bumps == [{"label 1", "label 2"}]


async def test_a_joined_async_session_bumps_when_its_connection_commits(
    any_async_engine: AsyncEngine, any_async_sessions: Sessions, store: RecordingStore
) -> None:
    """Fact 18: before the connection's block is left, not before its transaction is committed."""
    async with any_async_engine.begin() as connection:
        async with any_async_sessions(bind=connection) as session:
            session.add(Label(account_id=1))
            await session.commit()
        assert store.bumps == []
    assert store.bumps == [{"label 1"}]
    async with any_async_engine.connect() as connection:
        await connection.begin()
        async with any_async_sessions(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(Label(account_id=1))
            await session.commit()
    assert store.bumps == [{"label 1"}]


async def test_many_sessions_at_once_keep_their_pairs_apart(any_async_sessions: Sessions, bumped: Bumped) -> None:
    """Concurrent transactions, some committed and some not, bump what is theirs."""

    async def write(account: int) -> None:
        async with any_async_sessions() as session:
            session.add(Label(account_id=account))
            await session.flush()
            await (session.rollback() if account % 2 else session.commit())

    await asyncio.gather(*(write(account) for account in range(6)))
    assert bumped() == {"label 0", "label 2", "label 4"}


async def test_without_greenlet_sessions_are_synchronous(
    monkeypatch: pytest.MonkeyPatch, sessions: Any, store: RecordingStore
) -> None:
    """Fact 20: where greenlet is not installed there is nothing to await in."""
    from cache_revalidate_sqlalchemy import push

    def missing() -> bool:
        raise ImportError("greenlet")

    monkeypatch.setattr(push, "in_greenlet", missing)
    with sessions.begin() as session:
        session.add(Label(account_id=1))
    assert store.bumps == [{"label 1"}]
