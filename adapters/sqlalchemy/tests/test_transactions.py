"""When what was touched is bumped: after the outermost commit, and not before; never for what was rolled back."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import (
    ATTACHED,
    Conversation,
    Inbox,
    Label,
    Note,
    RecordingStore,
    Team,
    label_table,
    new_revalidator,
    sync_engine,
)
from sqlalchemy import Connection, Engine, event, insert, select, text
from sqlalchemy.exc import IntegrityError, SAWarning
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from cache_revalidate import StoreError
from cache_revalidate_sqlalchemy import attach

Sessions = sessionmaker[Session]
Bumped = Callable[[], set[str]]


def test_a_released_savepoint_bumps_nothing_yet(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 1: `after_commit` fires for a RELEASE, too; the bump waits for the COMMIT."""
    with any_sessions() as session:
        with session.begin_nested():
            session.add(Label(account_id=1))
        assert store.bumps == []
        session.commit()
        assert store.bumps == [{"label 1"}]


def test_what_a_savepoint_rolled_back_is_forgotten(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 2: pairs follow the stack of savepoints; an inner one may go with its outer, or come back alone."""
    with any_sessions() as session:
        session.add(Label(account_id=1))
        with session.begin_nested() as outer:
            session.add(Label(account_id=2))
            with session.begin_nested():
                session.add(Label(account_id=3))
            outer.rollback()
        with session.begin_nested():
            session.add(Label(account_id=4))
            with session.begin_nested() as inner:
                session.add(Label(account_id=5))
                inner.rollback()
        session.commit()
    assert store.bumps == [{"label 1", "label 4"}]


def test_commit_ends_the_savepoints_that_are_open(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 2: `commit()` inside savepoints commits what is in them."""
    with any_sessions() as session:
        session.begin_nested()
        session.add(Label(account_id=1))
        session.begin_nested()
        session.add(Label(account_id=2))
        session.commit()
    assert store.bumps == [{"label 1", "label 2"}]


def test_rollback_forgets_everything(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 3: what a rolled-back transaction touched is not bumped, neither then nor by the next commit."""
    with any_sessions() as session:
        session.add(Label(account_id=1))
        with session.begin_nested():
            session.add(Label(account_id=2))
        session.rollback()
        session.add(Label(account_id=3))
        session.commit()
    assert store.bumps == [{"label 3"}]


def test_close_forgets_everything(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 4: a session that is closed and used again does not bump what it flushed before."""
    session = any_sessions()
    session.add(Label(account_id=1))
    session.begin_nested()
    session.add(Label(account_id=2))
    session.flush()
    session.close()
    session.add(Label(account_id=3))
    session.commit()
    session.close()
    assert store.bumps == [{"label 3"}]


def test_flushes_are_no_savepoints(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 5: the subtransaction of a flush neither bumps nor forgets; several flushes make one bump."""
    with any_sessions() as session:
        for account in (1, 2):
            session.add(Label(account_id=account))
            session.flush()
        assert store.bumps == []
        session.commit()
    assert store.bumps == [{"label 1", "label 2"}]


def test_a_failed_flush_forgets_what_it_rolled_back(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 5: a flush that fails inside a savepoint takes that savepoint's pairs with it, and no others."""
    with any_sessions() as session:
        session.add(Label(id=1, account_id=1))
        session.flush()
        savepoint = session.begin_nested()
        session.add(Team(account_id=2))
        session.flush()
        session.add(Label(id=1, account_id=3))
        with pytest.raises(IntegrityError):
            session.flush()
        savepoint.rollback()
        session.commit()
    assert store.bumps == [{"label 1"}]


def test_a_commit_that_fails_in_its_flush_bumps_nothing(any_sessions: Sessions, store: RecordingStore) -> None:
    """A row that the database refuses in the flush of `commit()` leaves nothing to bump: no COMMIT was sent."""
    with any_sessions() as session:
        session.add(Label(id=1, account_id=1))
        session.flush()
        session.add(Conversation(account_id=None))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.add(Label(account_id=2))
        session.commit()
    assert store.bumps == [{"label 2"}]


class FailingStore(RecordingStore):
    """A store that is away, or broken."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def bump_sync(self, keyspace: Any, changes: Any) -> Any:
        """Fail, until it is mended."""
        if self.error is not None:
            raise self.error
        return super().bump_sync(keyspace, changes)


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("a bug in the store")])
def test_a_failing_store_does_not_wedge_the_session(
    engine: Engine, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Fact 9: whatever a store raises is logged and counted; the session goes on, and the bump is owed."""
    store = FailingStore(error)
    revalidator = new_revalidator(store)
    sessions = sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED)
    with sessions() as session:
        session.add(Label(account_id=1))
        session.commit()
        assert session.scalar(select(Label.account_id)) == 1
        assert revalidator.stats.failed_bumps == 1
        assert [record.levelno for record in caplog.records if record.name == "cache_revalidate"] == [logging.ERROR]
        store.error = None
        session.add(Label(account_id=2))
        session.commit()
    assert store.bumps == [{"label 1", "label 2"}]
    attachment.detach()


def test_an_invalid_tenant_is_logged(any_sessions: Sessions, bumped: Bumped, caplog: pytest.LogCaptureFixture) -> None:
    """A tenant that can't be one, a negative number say, is logged; the commit and the other tenants go on."""
    with any_sessions() as session:
        session.add_all([Label(account_id=-5), Label(account_id=1)])
        session.commit()
        assert session.scalars(select(Label.account_id).order_by(Label.account_id)).all() == [-5, 1]
    assert bumped() == {"label 1"}
    assert "can't be bumped" in caplog.text


def test_a_tenant_of_any_shape_is_harmless(
    engine: Engine, store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    """300 characters, or no tenant's type at all, are logged and break nothing; so is a broken canonical function."""
    from cache_revalidate import Revalidator

    def canonical(tenant: object) -> str:
        if tenant == "bug":
            raise RuntimeError("a bug")
        return str(tenant)

    tenants = ["x" * 300, ["nested"], {}, "bug", "good"]
    sessions = sessionmaker(engine)
    revalidator = Revalidator(["label"], store, canonical=canonical)
    attachment = attach(revalidator, sessions, {Label: lambda _: tenants})
    with sessions.begin() as session:
        session.add(Label())
    attachment.detach()
    assert store.bumped() == {"label good"}
    assert len([record for record in caplog.records if record.name == "cache_revalidate"]) == 4


def test_no_statement_is_sent_after_the_commit(engine: Engine, sessions: Sessions, bumped: Bumped) -> None:
    """Fact 10: nothing is loaded in `after_commit`: tenants were gathered as plain values before."""
    statements: list[str] = []
    event.listen(engine, "commit", lambda _: statements.append("COMMIT"))
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with sessions() as session:
        session.add(Label(account_id=1))
        session.commit()
    assert bumped() == {"label 1"}
    assert statements[-1] == "COMMIT"


def test_empty_and_reading_commits_send_nothing(any_sessions: Sessions, store: RecordingStore) -> None:
    """Fact 13: a commit that touched nothing bumps nothing."""
    with any_sessions() as session:
        session.commit()
        session.scalars(select(Label)).all()
        session.commit()
        session.add(Note())
        session.commit()
    assert store.bumps == []


@pytest.fixture
def two_binds(engine: Engine, tmp_path: Path, store: RecordingStore) -> Any:
    """Give attached sessions that write labels to one database and teams to another, and the second's engine."""
    with sync_engine(f"sqlite:///{tmp_path / 'teams.sqlite'}") as other:
        sessions = sessionmaker(binds={Label: engine, Team: other})
        attachment = attach(new_revalidator(store), sessions, {Label: "account_id", Team: "account_id"})
        yield sessions, engine, other
        attachment.detach()


def test_several_binds_are_bumped_once(two_binds: Any, store: RecordingStore) -> None:
    """Fact 21: each object is written on its own bind; their pairs make one bump."""
    sessions, _, _ = two_binds
    with sessions.begin() as session:
        session.add_all([Label(account_id=1), Team(account_id=2)])
        session.execute(insert(Team).values(account_id=3))
        session.execute(label_table.insert().values(account_id=4))
    assert store.bumps == [{"label 1", "team 2", "team 3", "label 4"}]


@pytest.mark.parametrize("way_out", ["rollback", "close", "collect"])
def test_a_later_bind_that_fails_to_commit_is_in_doubt(two_binds: Any, bumped: Bumped, way_out: str) -> None:
    """Fact 14: the first bind is durable when the second's COMMIT fails, though no event says so: both are bumped."""
    sessions, engine, other = two_binds
    order: list[Engine] = []

    def commit(connection: Connection) -> None:
        order.append(connection.engine)
        if len(order) == 2:
            raise ConnectionError("the second database is gone")

    for each in (engine, other):
        event.listen(each, "commit", commit, insert=True)
    session = sessions()
    session.add_all([Label(account_id=1), Team(account_id=2)])
    with pytest.raises(ConnectionError):
        session.commit()
    durable = "label 1" if order[0] is engine else "team 2"
    if way_out == "rollback":
        with pytest.warns(SAWarning, match="already deassociated"):  # SQLAlchemy's own word on it
            session.rollback()
    if way_out in {"rollback", "close"}:
        session.close()
    else:
        del session
        gc.collect()
    assert durable in bumped()


JOINED = ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]


@pytest.fixture
def joined(any_engine: Engine, any_sessions: Sessions, store: RecordingStore) -> Any:
    """Give a function that makes an attached session on a connection, with a join mode."""

    def joined(connection: Connection, mode: Any) -> Session:
        return any_sessions(bind=connection, join_transaction_mode=mode)

    return joined


@pytest.mark.parametrize("mode", JOINED)
def test_a_joined_session_bumps_when_the_connection_has_committed(
    any_engine: Engine, joined: Any, store: RecordingStore, mode: str
) -> None:
    """Facts 15 and 18: its pairs wait for the transaction that the session does not end; `control_fully` ends it."""
    with any_engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            session.add(Label(account_id=1))
            session.commit()
        assert store.bumps == ([{"label 1"}] if mode == "control_fully" else [])
        if mode != "control_fully":
            outer.commit()
    assert store.bumps == [{"label 1"}]


@pytest.mark.parametrize("mode", [mode for mode in JOINED if mode != "control_fully"])
def test_a_joined_session_bumps_nothing_if_the_connection_rolls_back(
    any_engine: Engine, joined: Any, store: RecordingStore, mode: str
) -> None:
    """Facts 15 and 18: the usual test pattern, a transaction around each test that is rolled back, bumps nothing."""
    with any_engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            session.add(Label(account_id=1))
            session.commit()
        outer.rollback()
        with connection.begin():
            connection.execute(select(Label.id)).all()
    assert store.bumps == []


@pytest.mark.parametrize("mode", JOINED)
def test_a_joined_session_that_rolled_back_bumps_nothing(
    any_engine: Engine, joined: Any, store: RecordingStore, mode: str
) -> None:
    """Fact 15: what the session itself rolled back is not bumped, though the connection commits."""
    with any_engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            session.add(Label(account_id=1))
            session.flush()
            session.rollback()
        if outer.is_active:
            outer.commit()
    assert store.bumps == []


@pytest.mark.parametrize("mode", JOINED)
def test_a_joined_session_in_a_savepoint_of_the_connection_waits_for_the_commit(
    any_engine: Engine, joined: Any, store: RecordingStore, mode: str
) -> None:
    """Fact 18: even `control_fully` ends but the savepoint that it was joined to."""
    with any_engine.connect() as connection:
        outer = connection.begin()
        connection.begin_nested()
        with joined(connection, mode) as session:
            session.add(Label(account_id=1))
            session.commit()
        assert store.bumps == []
        outer.commit()
    assert store.bumps == [{"label 1"}]


def test_a_joined_session_that_is_closed_leaves_its_rows_to_the_connection(
    any_engine: Engine, joined: Any, store: RecordingStore
) -> None:
    """Fact 18: with `rollback_only`, `close()` takes nothing back: the connection's commit bumps it."""
    with any_engine.begin() as connection, joined(connection, "rollback_only") as session:
        session.add(Label(account_id=1))
        session.flush()
    assert store.bumps == [{"label 1"}]


def test_a_connection_that_begins_again_bumps_what_it_committed(
    any_engine: Engine, joined: Any, store: RecordingStore
) -> None:
    """Fact 18: a connection that is kept is known to have committed when its next transaction begins."""
    with any_engine.connect() as connection:
        with connection.begin(), joined(connection, "rollback_only") as session:
            session.add(Label(account_id=1))
            session.commit()
        with connection.begin():
            assert store.bumps == [{"label 1"}]
    assert store.bumps == [{"label 1"}]


def test_a_session_that_owns_the_transaction_of_its_connection_bumps_at_once(
    any_engine: Engine, any_sessions: Sessions, store: RecordingStore
) -> None:
    """Fact 18: a session on a connection that has no transaction ends the one that it begins."""
    with any_engine.connect() as connection, any_sessions(bind=connection) as session:
        session.add(Label(account_id=1))
        session.commit()
        assert store.bumps == [{"label 1"}]
        session.add(Label(account_id=2))
        session.flush()
        session.rollback()
    assert store.bumps == [{"label 1"}]


def test_a_doubtful_commit_is_bumped_though_the_connection_is_kept(
    any_engine: Engine, any_sessions: Sessions, store: RecordingStore
) -> None:
    """Fact 19: at the session's end, whose connection the app goes on using."""

    def commit(_: Connection) -> None:
        raise ConnectionError("who knows")

    with any_engine.connect() as connection:
        session = any_sessions(bind=connection)
        session.add(Label(account_id=1))
        session.flush()
        event.listen(any_engine, "commit", commit)
        with pytest.raises(ConnectionError):
            session.commit()
        session.close()
        assert store.bumps == [{"label 1"}]


def test_what_is_executed_on_a_connection_after_its_session_is_nobodys(
    any_engine: Engine, joined: Any, store: RecordingStore
) -> None:
    """A connection that a session has left may be used for anything: its statements are not judged."""
    with any_engine.begin() as connection:
        with joined(connection, "create_savepoint"):
            pass
        connection.execute(label_table.update().values(title="x"))
    assert store.bumps == []


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_autocommit_bumps_at_the_flush(
    any_engine: Engine, any_sessions: Sessions, store: RecordingStore, end: str
) -> None:
    """Fact 16: under AUTOCOMMIT a row stays whatever comes after: it is bumped as soon as it is written."""
    session = any_sessions(bind=any_engine.execution_options(isolation_level="AUTOCOMMIT"))
    session.add(Label(account_id=1))
    session.flush()
    assert store.bumps == [{"label 1"}]
    session.execute(insert(Label).values(account_id=2))
    session.connection().execute(label_table.insert().values(account_id=3))
    assert store.bumps == [{"label 1"}, {"label 2"}, {"label 3"}]
    getattr(session, end)()
    session.close()
    assert len(store.bumps) == 3


def test_a_connection_that_turns_to_autocommit_is_known(
    any_engine: Engine, any_sessions: Sessions, store: RecordingStore
) -> None:
    """Fact 16: a kept connection's isolation level may differ from transaction to transaction."""
    with any_engine.connect() as connection, any_sessions(bind=connection) as session:
        session.add(Label(account_id=1))
        session.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        session.add(Label(account_id=2))
        session.flush()
        assert store.bumps == [{"label 1"}, {"label 2"}]
        session.rollback()
    assert store.bumps == [{"label 1"}, {"label 2"}]


def test_autocommit_of_the_whole_engine_is_known(tmp_path: Path, store: RecordingStore) -> None:
    """Fact 16: also where the engine was made so."""
    with sync_engine(f"sqlite:///{tmp_path / 'desk.sqlite'}") as plain:
        sessions = sessionmaker(plain)
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{tmp_path / 'desk.sqlite'}", isolation_level="AUTOCOMMIT")
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    with sessions() as session:
        session.add(Label(account_id=1))
        session.flush()
        session.rollback()
        assert store.bumps == [{"label 1"}]
        assert session.scalar(select(Label.account_id)) == 1
    attachment.detach()
    engine.dispose()


def test_a_flush_that_fails_under_autocommit_bumps_what_it_wrote(
    any_engine: Engine, any_sessions: Sessions, bumped: Bumped
) -> None:
    """Fact 16: the statements before the one that failed are durable."""
    with any_sessions(bind=any_engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        session.add(Label(id=1, account_id=1))
        session.flush()
        bumped()
        session.add_all([Inbox(account_id=2), Label(id=1, account_id=3)])
        with pytest.raises(IntegrityError):
            session.flush()
    assert "inbox 2" in bumped()


async def test_a_synchronous_session_inside_an_event_loop_uses_the_synchronous_door(
    sessions: Sessions, store: RecordingStore
) -> None:
    """Fact 20: no greenlet, no awaiting: `await_only` would raise and wedge the session."""
    assert asyncio.get_running_loop().is_running()
    with sessions() as session:
        session.add(Label(account_id=1))
        session.commit()
        assert store.bumps == [{"label 1"}]
        session.scalars(select(Label)).all()


def test_a_savepoint_ends_with_its_transaction_under_the_sqlite_recipe(sessions: Sessions, bumped: Bumped) -> None:
    """Fact 22: with the documented recipe a released savepoint goes with the outer rollback, and so do its pairs."""
    with sessions() as session:
        with session.begin_nested():
            session.add(Label(account_id=1))
        session.rollback()
        assert session.scalars(select(Label)).all() == []
        session.commit()
    assert bumped() == set()


def test_a_session_of_an_attached_factory_alone_is_followed(engine: Engine, sessions: Sessions, bumped: Bumped) -> None:
    """Other sessions on the same engine bump nothing: no listener is on the global Session class."""
    with Session(engine) as session:
        session.add(Label(account_id=1))
        session.commit()
        session.delete(session.scalars(select(Label)).one())
        session.commit()
    with sessionmaker(engine).begin() as session:
        session.add(Label(account_id=1))
    assert bumped() == set()


def test_an_app_that_nests_its_own_events_is_not_disturbed(sessions: Sessions, bumped: Bumped) -> None:
    """A listener of the app's that writes in `before_commit` is heard, too (fact 17)."""

    def write(session: Session) -> None:
        if not session.in_nested_transaction():
            session.flush()
            session.add(Team(account_id=9))

    event.listen(sessions, "before_commit", write)
    with sessions.begin() as session:
        session.add(Label(account_id=1))
        with session.begin_nested():
            session.execute(text("SELECT 1"))
    assert bumped() == {"label 1", "team 9"}


def test_a_savepoint_that_the_app_closes_is_forgotten(sessions: Sessions, bumped: Bumped) -> None:
    """Fact 3: a savepoint's transaction that is closed, not rolled back, is gone as well."""
    with sessions.begin() as session:
        savepoint: SessionTransaction = session.begin_nested()
        session.add(Label(account_id=1))
        session.flush()
        savepoint.close()
        session.add(Label(account_id=2))
    assert bumped() == {"label 2"}


def test_nothing_is_kept_of_ended_sessions(sessions: Sessions, bumped: Bumped) -> None:
    """Sessions, their connections and their objects are free to go when the transaction is over."""
    import weakref

    session = sessions()
    session.add(Label(account_id=1))
    session.commit()
    reference = weakref.ref(session)
    session.close()
    del session
    gc.collect()
    assert reference() is None
    assert bumped() == {"label 1"}
