"""Bulk statements through a session: bumped by what they say, refused before they run when they don't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from adapters.sqlalchemy.tests.desk import (
    ATTACHED,
    Conversation,
    InboxMember,
    Label,
    Note,
    RecordingStore,
    Team,
    conversation_labels,
    label_table,
    new_revalidator,
    team_table,
)
from sqlalchemy import (
    Alias,
    Connection,
    Engine,
    ForeignKey,
    Table,
    bindparam,
    delete,
    event,
    insert,
    lambda_stmt,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column, sessionmaker

from cache_revalidate import Revalidator
from cache_revalidate_sqlalchemy import UnknownTenantError, attach, touch

Sessions = sessionmaker[Session]
Bumped = Callable[[], set[str]]


def _query_update(session: Session) -> None:
    session.query(Label).filter(Label.account_id == 1).update({"title": "x"})


def _query_delete(session: Session) -> None:
    session.query(Label).filter_by(account_id=1).delete()


other = aliased(Label)
alias = cast("Alias", label_table.alias())

SEEN: list[tuple[Callable[[Session], Any], set[str]]] = [
    (lambda s: s.execute(update(Label).where(Label.account_id == 1).values(title="x")), {"label 1"}),
    (lambda s: s.execute(update(Label).where(Label.account_id == 1).values(account_id=2)), {"label 1", "label 2"}),
    (lambda s: s.execute(delete(Label).where(Label.account_id.in_([1, 2]))), {"label 1", "label 2"}),
    (lambda s: s.execute(insert(Label), [{"account_id": 1}, {"account_id": 2}]), {"label 1", "label 2"}),
    (lambda s: s.execute(insert(Label).values(account_id=1)), {"label 1"}),
    (lambda s: s.scalars(insert(Label).returning(Label), [{"account_id": 1}]).all(), {"label 1"}),
    (
        lambda s: s.scalars(select(Label).from_statement(insert(Label).values(account_id=1).returning(Label))).all(),
        {"label 1"},
    ),
    (lambda s: s.execute(label_table.update().where(label_table.c.account_id == 1).values(title="x")), {"label 1"}),
    (lambda s: s.execute(label_table.insert(), [{"account_id": 1}]), {"label 1"}),
    (lambda s: s.execute(label_table.delete().where(label_table.c.account_id == 1)), {"label 1"}),
    (
        lambda s: s.execute(lambda_stmt(lambda: update(Label).where(Label.account_id == 1).values(title="x"))),
        {"label 1"},
    ),
    (
        lambda s: s.connection().execute(lambda_stmt(lambda: delete(Label).where(Label.account_id == 1))),
        {"label 1"},
    ),
    (lambda s: s.execute(update(other).where(other.account_id == 1).values(title="x")), {"label 1"}),
    (lambda s: s.execute(delete(alias).where(alias.c.account_id == 1)), {"label 1"}),
    (_query_update, {"label 1"}),
    (_query_delete, {"label 1"}),
    (lambda s: s.connection().execute(label_table.insert().values(account_id=1)), {"label 1"}),
    (lambda s: s.bulk_insert_mappings(Label, [{"account_id": 1}, {"account_id": 2}]), {"label 1", "label 2"}),
    (lambda s: s.bulk_save_objects([Label(account_id=1)]), {"label 1"}),
]


@pytest.mark.parametrize(("write", "expected"), SEEN)
def test_a_bulk_statement_bumps_the_tenants_that_it_names(
    any_sessions: Sessions, bumped: Bumped, write: Callable[[Session], Any], expected: set[str]
) -> None:
    """Fact 8: by `execute` of ORM entities and tables, by `Query`, by the bulk methods, on the session's connection."""
    with any_sessions() as session:
        write(session)
        session.rollback()
        assert bumped() == set()
        with session.begin_nested() as savepoint:
            write(session)
            savepoint.rollback()
        session.commit()
        assert bumped() == set()
        write(session)
        session.commit()
    assert bumped() == expected


REFUSED: list[Callable[[Session], Any]] = [
    lambda s: s.execute(update(Label), [{"id": 1, "title": "x"}]),
    lambda s: s.execute(update(Label).values(account_id=2)),
    lambda s: s.execute(update(Label).values(title="x").returning(Label.id)),
    lambda s: s.execute(insert(Label), [{"account_id": 1}, {"title": "x"}]),
    lambda s: s.execute(insert(InboxMember).values(inbox_id=1)),
    lambda s: s.execute(label_table.insert().prefix_with("OR REPLACE").values(id=1, account_id=1, title="x")),
    lambda s: s.connection().execute(label_table.update().values(title="x")),
    lambda s: s.connection().execute(label_table.delete()),
]


@pytest.mark.parametrize("write", REFUSED)
def test_a_bulk_statement_that_names_none_is_refused(
    engine: Engine, sessions: Sessions, bumped: Bumped, write: Callable[[Session], Any]
) -> None:
    """Before anything is executed an error lists the ways out; the session goes on."""
    with sessions.begin() as session:
        session.add(Label(id=1, account_id=1))
    bumped()
    with sessions() as session:
        session.connection()
        statements: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
        with pytest.raises(UnknownTenantError, match=r"cache_tenants=.*on_unknown_tenant"):
            write(session)
        assert statements == []
        session.add(Label(account_id=2))
        session.commit()
        assert session.scalars(select(Label.title)).all() == ["", ""]
    assert bumped() == {"label 2"}


TOLD: list[tuple[Callable[[Session], Any], set[str], int]] = [
    (lambda s: s.execute(update(Label).values(title="x")), {"label 1", "label 2"}, 4),
    (lambda s: s.execute(update(Label).where(Label.id < 3).values(title="x")), {"label 1"}, 2),
    (lambda s: s.execute(update(Label).where(Label.title == "none").values(title="x")), set(), 0),
    (
        lambda s: s.execute(update(Label).where(Label.id < bindparam("least")), {"least": 2, "title": "x"}),
        {"label 1"},
        1,
    ),
    (lambda s: s.execute(delete(Label).where(Label.id == 3)), {"label 2"}, 1),
    (
        lambda s: s.execute(delete(Label).where(or_(Label.account_id == 1, Label.account_id == 2))),
        {"label 1", "label 2"},
        3,
    ),
    (lambda s: s.execute(label_table.update().values(title="x")), {"label 1", "label 2"}, 4),
    (lambda s: s.execute(label_table.delete()), {"label 1", "label 2"}, 4),
    (
        lambda s: s.execute(
            insert(Label).from_select(["account_id", "title"], select(Label.account_id + 10, Label.title))
        ),
        {"label 11", "label 12"},
        4,
    ),
]


@pytest.mark.parametrize(("write", "expected", "count"), TOLD)
def test_a_bulk_statement_is_made_to_tell_its_tenants(
    any_sessions: Sessions, bumped: Bumped, write: Callable[[Session], Any], expected: set[str], count: int
) -> None:
    """Where the database has RETURNING, a statement that names no tenant tells those of the rows that it wrote."""
    with any_sessions.begin() as session:
        session.add_all([Label(account_id=account) for account in (1, 1, 2, None)])
    bumped()
    with any_sessions() as session:
        write(session)
        session.rollback()
        assert bumped() == set()
        result = write(session)
        assert (result.rowcount, result.returns_rows) == (count, False)
        session.commit()
    assert bumped() == expected


def test_objects_know_of_a_statement_that_was_made_to_tell(any_sessions: Sessions) -> None:
    """SQLAlchemy brings the session's objects up to date as it does without us."""
    with any_sessions() as session:
        label = Label(account_id=1)
        session.add(label)
        session.flush()
        session.execute(update(Label).values(title="x"))
        assert (label.title, session.query(Label).update({"title": "y"}), label.title) == ("x", 1, "y")
        session.execute(delete(Label))
        assert label not in session


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.bulk_update_mappings(Label, [{"id": 1, "title": "x"}]),
        lambda s: s.bulk_insert_mappings(Label, [{"title": "x"}]),
        lambda s: s.bulk_insert_mappings(InboxMember, [{"inbox_id": 1}]),
    ],
)
def test_a_bulk_method_that_names_none_is_refused(
    sessions: Sessions, bumped: Bumped, write: Callable[[Session], Any]
) -> None:
    """Fact 8: a bulk method may name no tenant either; SQLAlchemy rolls back when it fails."""
    with sessions() as session:
        session.add(Label(id=1, account_id=1))
        session.flush()
        with pytest.raises(UnknownTenantError):
            write(session)
        session.rollback()
    assert bumped() == set()


def test_a_failed_flush_leaves_bulk_methods_seen(sessions: Sessions, bumped: Bumped) -> None:
    """Fact 8: what comes after a flush that failed in a savepoint is no part of that flush."""
    with sessions.begin() as session:
        session.add(Label(id=1, account_id=1))
        savepoint = session.begin_nested()
        session.add(Label(id=1, account_id=2))
        with pytest.raises(IntegrityError):
            session.flush()
        savepoint.rollback()
        session.bulk_insert_mappings(Label, [{"account_id": 3}])
    assert bumped() == {"label 1", "label 3"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [([1, 2], {"label 1", "label 2"}), (3, {"label 3"}), ("four", {"label four"}), ([], set()), (None, set())],
)
@pytest.mark.parametrize(
    "write",
    [
        lambda s, o: s.execute(update(Label).values(title="x").execution_options(cache_tenants=o)),
        lambda s, o: s.execute(update(Label).values(title="x"), execution_options={"cache_tenants": o}),
        lambda s, o: s.execute(update(Label), [{"id": 1, "title": "x"}], execution_options={"cache_tenants": o}),
        lambda s, o: s.execute(insert(Label), [{"title": "x"}], execution_options={"cache_tenants": o}),
        lambda s, o: s.execute(label_table.delete().execution_options(cache_tenants=o)),
        lambda s, o: s.query(Label).execution_options(cache_tenants=o).update({"title": "x"}),
        lambda s, o: s.connection().execute(label_table.delete().execution_options(cache_tenants=o)),
    ],
)
def test_an_execution_option_names_the_tenants(
    sessions: Sessions, bumped: Bumped, write: Callable[[Session, Any], Any], given: object, expected: set[str]
) -> None:
    """`cache_tenants` names several, one, or none; what the statement itself says is not asked."""
    with sessions.begin() as session:
        session.add(Label(id=1, account_id=None))
        session.flush()
        write(session, given)
    assert bumped() == expected


def test_a_function_may_find_the_tenants(engine: Engine, bumped: Bumped, store: RecordingStore) -> None:
    """`on_unknown_tenant` is given the connection and the statement, and may ask the database."""

    def everyone(connection: Connection, statement: Any) -> Any:
        assert isinstance(statement, type(update(Label)))
        return connection.scalars(select(Label.account_id).distinct())

    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, ATTACHED, on_unknown_tenant=everyone)
    with sessions.begin() as session:
        session.add_all([Label(account_id=1), Label(account_id=2)])
    bumped()
    with sessions.begin() as session:
        session.execute(update(Label).values(title="x"))
    assert bumped() == {"label 1", "label 2"}
    attachment.detach()


def test_statements_on_other_tables_and_text_are_left_alone(sessions: Sessions, bumped: Bumped) -> None:
    """Only attached tables are judged; `text()` is executed and not seen."""
    with sessions.begin() as session:
        session.execute(insert(Note).values(text="x"))
        session.execute(update(Note).values(text="y"))
        session.execute(text("UPDATE labels SET title = 'x'"))
        session.execute(conversation_labels.delete())
        session.scalars(select(Label)).all()
    assert bumped() == set()


def test_a_table_that_no_class_is_mapped_to_may_be_attached(
    engine: Engine, bumped: Bumped, store: RecordingStore
) -> None:
    """A table is a key of the mapping as a class is; its model is named after it, or by touch."""
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, {label_table: touch("label", "account_id")})
    with sessions.begin() as session:
        session.execute(label_table.insert().values(account_id=1))
    assert bumped() == {"label 1"}
    with sessions() as session, pytest.raises(UnknownTenantError):
        session.execute(label_table.update().values(account_id=2))
    attachment.detach()


def test_an_association_table_is_judged_outside_of_flushes(
    engine: Engine, bumped: Bumped, store: RecordingStore
) -> None:
    """Rows that a relationship writes are told by its objects; a statement of the app's must name its tenants."""
    sessions = sessionmaker(engine)
    attachment = attach(
        new_revalidator(store),
        sessions,
        {Team: "account_id", conversation_labels: touch("team", "conversation.account_id")},
    )
    with sessions.begin() as session:
        session.add(Conversation(id=1, account_id=2, labels=[Label(id=1, account_id=1)]))
    assert bumped() == {"team 2"}
    with sessions.begin() as session:
        session.delete(session.get_one(Conversation, 1))
    assert bumped() == {"team 2"}
    with sessions.begin() as session:
        with pytest.raises(UnknownTenantError, match="does not hold the tenant"):
            session.execute(conversation_labels.delete())
        session.execute(conversation_labels.delete().execution_options(cache_tenants=[2]))
    assert bumped() == {"team 2"}
    attachment.detach()


def test_statements_of_the_apps_own_flush_events_are_judged(sessions: Sessions, bumped: Bumped) -> None:
    """A statement that a listener executes inside a flush is the app's own, and bumps like any other."""

    def count(_: object, connection: Connection, __: object) -> None:
        connection.execute(team_table.update().where(Team.account_id == 3).values(name="x"))

    event.listen(Label, "after_insert", count)
    try:
        with sessions.begin() as session:
            session.add(Label(account_id=1))
    finally:
        event.remove(Label, "after_insert", count)
    assert bumped() == {"label 1", "team 3"}


def test_statements_that_an_event_executes_inside_a_statement_are_judged_by_themselves(
    sessions: Sessions, bumped: Bumped
) -> None:
    """A do_orm_execute listener of the app's may execute another bulk statement."""

    def also(state: Any) -> None:
        if state.is_executemany:
            state.session.execute(update(Team).where(Team.account_id == 3).values(name="x"))

    event.listen(sessions, "do_orm_execute", also)
    with sessions.begin() as session:
        session.add_all([Label(id=1, account_id=1), Label(id=2, account_id=1)])
        session.flush()
        titles = [{"id": 1, "title": "x"}, {"id": 2, "title": "y"}]
        session.execute(update(Label), titles, execution_options={"cache_tenants": [2]})
    assert bumped() == {"label 1", "label 2", "team 3"}


@pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch", False])
def test_orm_statements_still_synchronize_the_session(sessions: Sessions, bumped: Bumped, synchronize: Any) -> None:
    """Judging a statement changes nothing about how it is executed."""
    with sessions(expire_on_commit=False) as session:
        label = Label(account_id=1, title="old")
        session.add(label)
        session.flush()
        done: Any = session.execute(
            update(Label).where(Label.account_id == 1).values(title="new"),
            execution_options={"synchronize_session": synchronize},
        )
        assert done.rowcount == 1
        assert label.title == ("old" if synchronize is False else "new")
        session.commit()
    assert bumped() == {"label 1"}


def test_joined_subclasses_are_judged_by_their_bases_tenant(engine: Engine, store: RecordingStore) -> None:
    """A subclass's own table does not hold the tenant: it is named in the base's."""

    class Own(DeclarativeBase):
        pass

    class Contact(Own):
        __tablename__ = "contacts"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        owner: Mapped[int] = mapped_column("account_id")
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "contact"}  # noqa: RUF012

    class Company(Contact):
        __tablename__ = "companies"
        id: Mapped[int] = mapped_column(ForeignKey("contacts.id"), primary_key=True)
        size: Mapped[int] = mapped_column(default=0)
        __mapper_args__ = {"polymorphic_identity": "company"}  # noqa: RUF012

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    attachment = attach(Revalidator(["contact"], store), sessions, {Contact: "owner"})
    with sessions.begin() as session:
        session.execute(insert(Company), [{"owner": 1, "size": 3}])
    assert store.bumped() == {"contact 1"}
    with sessions.begin() as session:
        session.bulk_insert_mappings(Company, [{"owner": 2, "size": 3}])
    assert store.bumped() == {"contact 2"}
    with sessions.begin() as session:
        session.bulk_save_objects([Company(owner=3)])
    assert store.bumped() == {"contact 3"}
    with sessions() as session:
        with pytest.raises(UnknownTenantError):
            session.execute(update(Company).where(Company.size == 3).values(size=4))
        with pytest.raises(UnknownTenantError):  # nothing joins the two tables: it would change all companies
            session.execute(update(Company).where(Company.owner == 3).values(size=4))
        with pytest.raises(UnknownTenantError):
            session.execute(cast("Table", Company.__table__).insert().values(id=77))
    attachment.detach()


@pytest.mark.parametrize("moment", ["before_flush", "after_flush"])
def test_bulk_methods_in_flush_listeners_are_judged(sessions: Sessions, bumped: Bumped, moment: str) -> None:
    """What a listener writes past the unit of work is no part of the flush around it."""

    def write(session: Session, *_: object) -> None:
        session.bulk_insert_mappings(Team, [{"account_id": 2}])

    event.listen(sessions, moment, write)
    with sessions.begin() as session:
        session.add(Label(account_id=1))
    assert bumped() == {"label 1", "team 2"}


def test_bulk_methods_after_a_flush_that_a_listener_refused_are_judged(sessions: Sessions, bumped: Bumped) -> None:
    """A flush that was announced and never began is over."""

    def refuse(*_: object) -> None:
        raise ValueError

    with sessions.begin() as session:
        label = Label(account_id=1)
        session.add(label)
        event.listen(session, "before_flush", refuse)
        with pytest.raises(ValueError):
            session.flush()
        event.remove(session, "before_flush", refuse)
        session.expunge(label)
        session.bulk_insert_mappings(Team, [{"account_id": 2}])
    assert bumped() == {"team 2"}


def test_a_null_tenant_that_a_default_replaces_is_unknown(engine: Engine, store: RecordingStore) -> None:
    """The ORM leaves a None out of a bulk INSERT, so the row belongs to the tenant of the column's default."""

    class Own(DeclarativeBase):
        pass

    class Item(Own):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int | None] = mapped_column(server_default="7")

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    attachment = attach(Revalidator(["item"], store), sessions, {Item: "account_id"})
    with sessions.begin() as session, pytest.raises(UnknownTenantError, match="bulk INSERT of items"):
        session.execute(insert(Item), [{"account_id": None}])
    attachment.detach()


def test_bulk_methods_on_a_concrete_subclass_are_judged(engine: Engine, store: RecordingStore) -> None:
    """A concrete subclass holds the tenant in a column of its own table."""

    class Own(DeclarativeBase):
        pass

    class Contact(Own):
        __tablename__ = "contacts"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int]

    class Company(Contact):
        __tablename__ = "companies"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int]
        __mapper_args__ = {"concrete": True}  # noqa: RUF012

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    attachment = attach(Revalidator(["contact"], store), sessions, {Contact: "account_id"})
    with sessions.begin() as session:
        session.bulk_insert_mappings(Company, [{"account_id": 1}])
    assert store.bumped() == {"contact 1"}
    with sessions.begin() as session:
        session.execute(update(Company).where(Company.account_id == 1).values(account_id=2))
    assert store.bumped() == {"contact 1", "contact 2"}
    attachment.detach()
