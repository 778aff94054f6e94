"""Two-phase commits: the pending rows are prepared with the data, and folded after the second phase."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, Team
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending, empty, revalidator_on
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate_sqlalchemy import DurableStore, attach

if TYPE_CHECKING:
    from cache_revalidate import Revalidator

GetDatabase = Callable[..., Database]


@pytest.fixture(params=["psycopg", "pymysql"])
def engine(request: pytest.FixtureRequest, shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine of each database that has two phases."""
    with shared_database(request.param).sync_engine(request.param) as engine:
        empty(engine)
        yield engine


@pytest.fixture
def revalidator(engine: Engine) -> Revalidator:
    """Give a revalidator on the engine."""
    return revalidator_on(DurableStore(engine, TABLES))


@pytest.fixture
def sessions(engine: Engine, revalidator: Revalidator) -> Iterator[sessionmaker[Session]]:
    """Give attached sessions with two-phase commits."""
    sessions = sessionmaker(engine, twophase=True)
    attachment = attach(revalidator, sessions, ATTACHED)
    yield sessions
    attachment.detach()


def token(revalidator: Revalidator, model: str = "label") -> str:
    """Return the token of one tenant."""
    return asyncio.run(revalidator.tokens(1, model))[model]


def test_both_phases(engine: Engine, sessions: sessionmaker[Session], revalidator: Revalidator) -> None:
    """Nothing is seen of a prepared transaction; once committed it is folded."""
    with sessions() as session:
        before = token(revalidator)
        session.add(Label(account_id=1))
        session.commit()
        assert count_pending(engine) == 0
        assert (now := token(revalidator)) > before
        session.add(Label(account_id=1))
        session.prepare()
        assert (count_pending(engine), token(revalidator)) == (0, now)
        session.commit()
        assert count_pending(engine) == 0
        assert (after := token(revalidator)) > now
        session.add(Label(account_id=1))
        session.prepare()
        session.rollback()
        assert (count_pending(engine), token(revalidator)) == (0, after)


def test_a_prepared_transaction_that_another_process_commits(
    engine: Engine, sessions: sessionmaker[Session], revalidator: Revalidator
) -> None:
    """The pending rows are inside the prepared transaction: whoever commits it, the next read counts them in."""
    before = token(revalidator)
    names: list[str] = []

    def prepared(_: Connection, name: str) -> None:
        names.append(name)

    event.listen(engine, "prepare_twophase", prepared)
    session = sessions()
    session.add(Label(account_id=1))
    connection = session.connection()
    session.prepare()
    connection.invalidate()  # the process dies
    session.invalidate()
    assert token(revalidator) == before
    commit = "COMMIT PREPARED" if engine.dialect.name == "postgresql" else "XA COMMIT"
    with engine.connect() as another:
        another.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"{commit} '{names[0]}'")
    assert token(revalidator) > before
    assert count_pending(engine) == 0


def test_two_databases(shared_database: GetDatabase) -> None:
    """A two-phase commit of two databases is noted in both, and forwarded."""
    with (
        shared_database("psycopg").sync_engine("psycopg") as home,
        shared_database("psycopg", "teams").sync_engine("psycopg") as other,
    ):
        revalidator = revalidator_on(DurableStore(home, TABLES, others=[other]))
        sessions: sessionmaker[Session] = sessionmaker(binds={Label: home, Team: other}, twophase=True)
        attachment = attach(revalidator, sessions, ATTACHED)
        before = token(revalidator), token(revalidator, "team")
        with sessions.begin() as session:
            session.add_all([Label(account_id=1), Team(account_id=1)])
        attachment.detach()
        assert count_pending(home) == count_pending(other) == 0
        assert token(revalidator) > before[0]
        assert token(revalidator, "team") > before[1]
