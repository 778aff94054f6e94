"""Commits that fail, or whose outcome nobody hears, and a store that is away."""

import sqlite3

import pytest
from adapters.sqlalchemy.tests.desk import Label
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.scenario import Group
from adapters.sqlalchemy.tests.peers.transactions import rename
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

GROUP = Group("Failures")


@GROUP.scenario("the cache's store is away during the commit")
def store_away(library: Library) -> None:
    """The commit succeeds, the session goes on, and when the store is back the change is served."""
    with library.sessions() as session:
        rename(library, session)
        with library.store_away():
            session.commit()
        assert session.get_one(Label, 1).title == "renamed"


class AnswerLost(sqlite3.Connection):
    """A connection whose COMMIT succeeds, which nobody hears."""

    def commit(self) -> None:
        """Commit, and fail."""
        super().commit()
        raise sqlite3.OperationalError("the answer is lost")


@GROUP.scenario("COMMIT is carried out, its answer is lost")
def answer_lost(library: Library) -> None:
    """The error reaches the app; the change is durable, so it is served."""
    engine = create_engine(library.database.url, connect_args={"factory": AnswerLost})
    library.database.follow(engine)
    session = library.sessions(bind=engine)
    rename(library, session)
    with pytest.raises(OperationalError):
        session.commit()
    session.close()
    engine.dispose()


@GROUP.scenario("COMMIT fails")
def commit_fails(library: Library) -> None:
    """The error reaches the app; nothing changed."""

    def fail(_: Connection) -> None:
        raise ConnectionError("the database is gone")

    engine: Engine = create_engine(library.database.url)
    event.listen(engine, "commit", fail)
    session = library.sessions(bind=engine)
    rename(library, session)
    with pytest.raises(ConnectionError):
        session.commit()
    session.close()
    engine.dispose()
