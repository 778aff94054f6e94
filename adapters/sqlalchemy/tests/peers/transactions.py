"""Savepoints, rollbacks, and transactions that somebody else ends."""

from typing import Any

from adapters.sqlalchemy.tests.desk import Label, Team
from adapters.sqlalchemy.tests.peers.database import LABELS, LABELS_ELSEWHERE, TEAMS
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.scenario import Group
from sqlalchemy import select
from sqlalchemy.orm import Session

GROUP = Group("Transactions")


def rename(library: Library, session: Session, entity: Any = Label, **values: Any) -> None:
    """Change the first row of a class the way the library documents; what it is named is `title` by default."""
    row = session.get_one(entity, 1)
    for name, value in (values or {"title": "renamed"}).items():
        setattr(row, name, value)
    library.change(session, row)


@GROUP.scenario("one change, one commit")
def one_commit(library: Library) -> None:
    """A committed change is served."""
    with library.sessions() as session:
        rename(library, session)
        session.commit()


@GROUP.scenario("two commits, another process reads after each", LABELS_ELSEWHERE)
def read_elsewhere(library: Library) -> None:
    """Every commit is served by every process that has the store in common."""
    for title in ("renamed", "renamed again"):
        library.read(LABELS_ELSEWHERE)
        with library.sessions() as session:
            rename(library, session, title=title)
            session.commit()


@GROUP.scenario("several flushes, one commit", LABELS, TEAMS)
def several_flushes(library: Library) -> None:
    """What any flush of the transaction wrote is served."""
    with library.sessions() as session:
        rename(library, session)
        rename(library, session, title="renamed again")
        rename(library, session, Team, name="support")
        session.commit()


@GROUP.scenario("a commit of nothing but reads")
def reading_commit(library: Library) -> None:
    """Nothing changed, nothing need be fetched."""
    with library.sessions() as session:
        session.scalars(select(Label)).all()
        session.commit()
        session.commit()


@GROUP.scenario("an object is assigned what it holds")
def assigned_the_same(library: Library) -> None:
    """No row is written, nothing need be fetched."""
    with library.sessions() as session:
        rename(library, session, title="bug")
        session.commit()


@GROUP.scenario("rollback")
def rollback(library: Library) -> None:
    """What was rolled back changed nothing."""
    with library.sessions() as session:
        rename(library, session)
        session.rollback()
        session.commit()


@GROUP.scenario("`close()` without a commit, then the session commits nothing")
def closed(library: Library) -> None:
    """What was given up changed nothing, also if the session is used again."""
    session = library.sessions()
    rename(library, session)
    session.close()
    session.scalars(select(Label)).all()
    session.commit()
    session.close()


@GROUP.scenario("savepoint released, then COMMIT")
def savepoint_released(library: Library) -> None:
    """A released savepoint is committed with the transaction, and not before."""
    with library.sessions() as session:
        with session.begin_nested():
            rename(library, session)
        session.commit()


@GROUP.scenario("savepoint rolled back, then COMMIT")
def savepoint_rolled_back(library: Library) -> None:
    """What a savepoint took back changed nothing."""
    with library.sessions() as session:
        with session.begin_nested() as savepoint:
            rename(library, session)
            savepoint.rollback()
        session.commit()


@GROUP.scenario("a change, a savepoint rolled back, then COMMIT")
def change_before_a_savepoint_rolled_back(library: Library) -> None:
    """A savepoint takes nothing back of what was written before it."""
    with library.sessions() as session:
        rename(library, session)
        with session.begin_nested() as savepoint:
            rename(library, session, Team, name="support")
            savepoint.rollback()
        session.commit()


@GROUP.scenario("savepoint rolled back inside a released one, then COMMIT")
def savepoint_rolled_back_inside_a_released_one(library: Library) -> None:
    """The outer savepoint's change is committed, the inner one's is not."""
    with library.sessions() as session:
        with session.begin_nested():
            rename(library, session)
            with session.begin_nested() as inner:
                rename(library, session, Team, name="support")
                inner.rollback()
        session.commit()


@GROUP.scenario("savepoint released, then ROLLBACK")
def savepoint_released_in_vain(library: Library) -> None:
    """A released savepoint goes with its transaction."""
    with library.sessions() as session:
        with session.begin_nested():
            rename(library, session)
        session.rollback()


@GROUP.scenario("session joined to a connection's transaction, which commits")
def joined_commits(library: Library) -> None:
    """The session's commit is none: the change is to be seen when the connection has committed."""
    with (
        library.database.writing.begin() as connection,
        library.sessions(bind=connection, join_transaction_mode="create_savepoint") as session,
    ):
        rename(library, session)
        session.commit()


@GROUP.scenario("session joined to a connection's transaction, which rolls back")
def joined_rolls_back(library: Library) -> None:
    """The usual test pattern changes nothing."""
    with library.database.writing.connect() as connection:
        outer = connection.begin()
        with library.sessions(bind=connection, join_transaction_mode="create_savepoint") as session:
            rename(library, session)
            session.commit()
        outer.rollback()


@GROUP.scenario("AUTOCOMMIT, then `rollback()`", driver="psycopg")
def autocommit(library: Library) -> None:
    """Under AUTOCOMMIT a row stays, whatever comes after."""
    with library.sessions(bind=library.database.writing.execution_options(isolation_level="AUTOCOMMIT")) as session:
        rename(library, session)
        session.rollback()


@GROUP.scenario("two-phase commit", driver="psycopg")
def two_phase_commit(library: Library) -> None:
    """What is prepared is to be seen when it has been committed."""
    with library.sessions(twophase=True) as session:
        rename(library, session)
        session.prepare()
        session.commit()


@GROUP.scenario("two-phase, prepared and rolled back", driver="psycopg")
def two_phase_rollback(library: Library) -> None:
    """What was prepared and rolled back changed nothing."""
    with library.sessions(twophase=True) as session:
        rename(library, session)
        session.prepare()
        session.rollback()
