"""What only a real server does: two-phase commits, and a COMMIT whose outcome nobody hears."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import (
    ATTACHED,
    Conversation,
    Label,
    RecordingStore,
    Team,
    async_engine,
    new_revalidator,
    sync_engine,
)
from sqlalchemy import Connection, Engine, event, insert, make_url, select, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from tests.support.fixtures import PostgresDatabase
from tests.support.proxy import Proxy
from tests.support.servers import PostgresServer

from cache_revalidate_sqlalchemy import attach


@pytest.fixture
def postgres(postgres_database: PostgresDatabase) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    with sync_engine(postgres_database.url("psycopg")) as engine:
        yield engine


def test_two_phase_commits_bump(postgres: Engine, store: RecordingStore) -> None:
    """Fact 14: prepared and then committed, a two-phase transaction bumps once; savepoints in it are followed."""
    sessions = sessionmaker(postgres, twophase=True)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    with sessions() as session:
        session.add(Label(account_id=1))
        with session.begin_nested() as savepoint:
            session.add(Label(account_id=2))
            savepoint.rollback()
        session.commit()
        assert store.bumps == [{"label 1"}]
        session.add(Label(account_id=3))
        session.prepare()
        assert store.bumps == [{"label 1"}]
        session.commit()
        assert store.bumps == [{"label 1"}, {"label 3"}]
        session.add(Label(account_id=4))
        session.prepare()
        session.rollback()
        session.commit()
    assert store.bumps == [{"label 1"}, {"label 3"}]
    attachment.detach()


@contextmanager
def autocommitting(engine: Engine) -> Iterator[Connection]:
    """Give a connection whose statements are their own transactions."""
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture
def other_postgres(postgres_server: PostgresServer) -> Iterator[Engine]:
    """Give an engine on another database."""
    name = postgres_server.create_database()
    with sync_engine(postgres_server.url("psycopg", name)) as engine:
        yield engine
    postgres_server.drop_database(name)


def test_a_two_phase_commit_that_fails_halfway_is_in_doubt(
    postgres: Engine, other_postgres: Engine, store: RecordingStore
) -> None:
    """Fact 14: one database is committed, the other only prepared: what may be durable is bumped."""
    sessions = sessionmaker(binds={Label: postgres, Team: other_postgres}, twophase=True)
    attachment = attach(new_revalidator(store), sessions, {Label: "account_id", Team: "account_id"})
    order: list[Engine] = []

    def commit(connection: Connection, *_: object) -> None:
        order.append(connection.engine)
        if len(order) == 2:
            raise ConnectionError("the second database is gone")

    for engine in (postgres, other_postgres):
        event.listen(engine, "commit_twophase", commit, insert=True)
    session = sessions()
    session.add_all([Label(account_id=1), Team(account_id=2)])
    with pytest.raises(ConnectionError):
        session.commit()
    session.close()
    attachment.detach()
    assert ("label 1" if order[0] is postgres else "team 2") in store.bumped()
    order[1].dispose()  # psycopg's connection can do nothing more with its prepared transaction
    with autocommitting(order[1]) as connection:
        mine = text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for name in connection.scalars(mine).all():
            connection.execute(text(f"ROLLBACK PREPARED '{name}'"))


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_commit_that_is_cancelled_is_in_doubt(
    postgres_database: PostgresDatabase, store: RecordingStore, driver: str
) -> None:
    """Fact 19: cancelled while it waits for COMMIT's answer, the transaction is durable: it is bumped."""
    plain = await async_engine(postgres_database.url(driver))
    url = make_url(postgres_database.url(driver))
    proxy = Proxy(str(url.host), int(url.port or 0))
    async with proxy.serving() as port:
        engine = create_async_engine(url.set(port=port))
        sessions = async_sessionmaker(engine)
        attachment = attach(new_revalidator(store), sessions, ATTACHED)

        async def write() -> None:
            async with sessions() as session:
                session.add(Label(account_id=1))
                await session.flush()
                proxy.hold_after = b"COMMIT"
                await session.commit()

        task = asyncio.create_task(write())
        await asyncio.wait_for(proxy.held.wait(), 5)
        assert store.bumps == []
        task.cancel()
        proxy.cut()  # or the drivers would wait for the answer
        with pytest.raises((asyncio.CancelledError, OperationalError)):
            await task
        assert store.bumped() == {"label 1"}
        async with plain.connect() as connection:
            assert (await connection.scalars(select(Label.account_id))).all() == [1]
        attachment.detach()
        await engine.dispose()
    await plain.dispose()


async def test_a_server_that_dies_in_a_commit_leaves_it_in_doubt(
    postgres_database: PostgresDatabase, store: RecordingStore
) -> None:
    """Fact 19: so does a connection that breaks there."""
    plain = await async_engine(postgres_database.url("asyncpg"))
    sessions = async_sessionmaker(plain)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)

    def break_connection(connection: Any) -> None:
        connection.connection.driver_connection.terminate()

    event.listen(plain.sync_engine, "commit", break_connection)
    async with sessions() as session:
        session.add(Label(account_id=1))
        with pytest.raises(Exception, match="closed"):
            await session.commit()
    assert store.bumped() == {"label 1"}
    attachment.detach()
    await plain.dispose()


def test_an_upsert_within_its_tenant_is_known(postgres: Engine, store: RecordingStore) -> None:
    """ON CONFLICT runs on the real server; DO NOTHING and literal VALUES tell the tenants."""
    sessions: sessionmaker[Session] = sessionmaker(postgres)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    with sessions.begin() as session:
        session.execute(postgresql_insert(Label).values(id=1, account_id=1, title="").on_conflict_do_nothing())
    assert store.bumped() == {"label 1"}
    attachment.detach()


def test_rows_that_the_server_refuses_bump_nothing(postgres: Engine, store: RecordingStore) -> None:
    """A failed statement aborts PostgreSQL's transaction; what a savepoint saves of it is bumped alone."""
    sessions: sessionmaker[Session] = sessionmaker(postgres)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    with sessions() as session:
        session.add(Label(id=1, account_id=1))
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(insert(Label), [{"id": 2, "account_id": 2}, {"id": 2, "account_id": 3}])
        session.add(Conversation(account_id=4))
        session.commit()
    assert store.bumps == [{"label 1", "conversation 4"}]
    attachment.detach()
