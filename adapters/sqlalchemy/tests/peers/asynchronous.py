"""Asynchronous sessions."""

import asyncio
import sqlite3
import threading

import pytest
from adapters.sqlalchemy.tests.desk import Label, Team
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.scenario import Group, settle
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

GROUP = Group("Asynchronous sessions")


async def rename(library: Library, session: AsyncSession) -> None:
    """Change the first label the way the library documents."""
    label = await session.get_one(Label, 1)
    label.title = "renamed"
    await library.change_async(session, label)


@GROUP.scenario("one change, one commit")
async def one_commit(library: Library, engine: AsyncEngine) -> None:
    """A committed change is served."""
    async with library.async_sessions(engine)() as session:
        await rename(library, session)
        await session.commit()


@GROUP.scenario("rollback")
async def rollback(library: Library, engine: AsyncEngine) -> None:
    """What was rolled back changed nothing."""
    async with library.async_sessions(engine)() as session:
        await rename(library, session)
        await session.rollback()
        await session.commit()


@GROUP.scenario("savepoint released, then COMMIT")
async def savepoint_released(library: Library, engine: AsyncEngine) -> None:
    """A released savepoint is committed with the transaction, and not before."""
    async with library.async_sessions(engine)() as session:
        async with session.begin_nested():
            await rename(library, session)
        await settle()
        await session.commit()


@GROUP.scenario("a change, a savepoint rolled back, then COMMIT")
async def change_before_a_savepoint_rolled_back(library: Library, engine: AsyncEngine) -> None:
    """A savepoint takes nothing back of what was written before it."""
    async with library.async_sessions(engine)() as session:
        await rename(library, session)
        async with session.begin_nested() as savepoint:
            session.add(Team(account_id=1))
            await savepoint.rollback()
        await session.commit()


@GROUP.scenario("the cache's store is away during the commit")
async def store_away(library: Library, engine: AsyncEngine) -> None:
    """The commit succeeds, and when the store is back the change is served."""
    async with library.async_sessions(engine)() as session:
        await rename(library, session)
        with library.store_away():
            await session.commit()
            await settle()


@GROUP.scenario("cancelled while COMMIT is carried out")
async def cancelled(library: Library, engine: AsyncEngine) -> None:
    """The cancellation reaches the app; the change is durable, so it is served."""
    begun, go_on = threading.Event(), threading.Event()

    class SlowCommit(sqlite3.Connection):
        def commit(self) -> None:
            begun.set()
            go_on.wait(5)
            super().commit()

    slow = create_async_engine(library.database.async_url, connect_args={"factory": SlowCommit})
    library.database.follow(slow.sync_engine)

    async def write() -> None:
        async with library.async_sessions(slow)() as session:
            await rename(library, session)
            await session.commit()

    writing = asyncio.create_task(write())
    await asyncio.to_thread(begun.wait, 5)
    writing.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await writing
    await slow.dispose()
