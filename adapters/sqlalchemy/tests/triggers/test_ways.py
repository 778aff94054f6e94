"""Dependents whose parents are deleted by a cascade, moved, or not tracked themselves; and inherited tables."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Table, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from tests.support.fixtures import PostgresDatabase

from cache_revalidate import Revalidator
from cache_revalidate_sqlalchemy import Triggers, add_tables, sql, touch

MODELS = ["message", "inbox", "agent", "person", "manager", "thread"]


class Base(DeclarativeBase):
    """A desk whose foreign keys cascade."""


TABLES = add_tables(Base.metadata)

thread_agents = Table(
    "thread_agents",
    Base.metadata,
    Column("thread_id", ForeignKey("threads.id", ondelete="CASCADE"), primary_key=True),
    Column("agent_id", ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
)


class Inbox(Base):
    """What holds the tenant."""

    __tablename__ = "inboxes"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    name: Mapped[str] = mapped_column(default="")


class Thread(Base):
    """What lies between."""

    __tablename__ = "threads"
    id: Mapped[int] = mapped_column(primary_key=True)
    inbox_id: Mapped[int] = mapped_column(ForeignKey("inboxes.id", ondelete="CASCADE", onupdate="CASCADE"))
    seen: Mapped[int] = mapped_column(default=0)
    inbox: Mapped[Inbox] = relationship()
    agents: Mapped[list["Agent"]] = relationship(secondary=thread_agents)


class Message(Base):
    """What is two joins away from its tenant."""

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int | None] = mapped_column(
        ForeignKey("threads.id", ondelete="CASCADE", onupdate="CASCADE", deferrable=True, initially="DEFERRED")
    )
    thread: Mapped[Thread | None] = relationship()


class Agent(Base):
    """One of several tenants."""

    __tablename__ = "agents"
    id: Mapped[int] = mapped_column(primary_key=True)
    accounts: Mapped[str]


class Person(Base):
    """The base of a joined table."""

    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Manager(Person):
    """The joined table."""

    __tablename__ = "managers"
    id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    title: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012


Write = Callable[[str], set[str]]


@pytest.fixture
def write(postgres_database: PostgresDatabase) -> Iterator[Callable[..., Write]]:
    """Give a function that creates triggers for a mapping and returns one that writes and tells what was noted."""
    engine = create_engine(postgres_database.url("psycopg"))

    def create(models: dict[Any, Any]) -> Write:
        with engine.begin() as connection:
            Base.metadata.create_all(connection)
            triggers = Triggers(Revalidator(MODELS), TABLES, models)
            triggers.create(connection)
            assert str(triggers.inspect(connection)).endswith("are as declared.")
        return write

    def write(statement: str) -> set[str]:
        with engine.begin() as connection:
            connection.execute(text(statement))
        with engine.begin() as connection:
            rows = connection.execute(text("DELETE FROM cache_revalidate_pending RETURNING model, tenant"))
            return {f"{model} {tenant}" for model, tenant in rows}

    yield create
    engine.dispose()


def fill(write: Write) -> None:
    """Have two inboxes with a thread and a message each, and a third thread without messages."""
    write("INSERT INTO inboxes VALUES (1, 1, ''), (2, 2, '')")
    write("INSERT INTO threads VALUES (1, 1, 0), (2, 2, 0), (3, 2, 0)")
    write("INSERT INTO messages VALUES (1, 1), (2, 2), (3, NULL)")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO messages VALUES (9, 1)", {"message 1"}),
        ("INSERT INTO messages VALUES (9, NULL)", set()),
        ("UPDATE messages SET thread_id = 2 WHERE id = 1", {"message 1", "message 2"}),
        ("UPDATE messages SET thread_id = NULL WHERE id = 1", {"message 1"}),
        ("DELETE FROM messages", {"message 1", "message 2"}),
        ("UPDATE threads SET seen = 1", set()),
        ("UPDATE threads SET inbox_id = 2 WHERE id = 1", {"message 1", "message 2"}),
        ("DELETE FROM threads WHERE id = 1", {"message 1"}),
        ("UPDATE inboxes SET name = 'x'", set()),
        ("UPDATE inboxes SET account_id = 5 WHERE id = 1", {"message 1", "message 5"}),
        ("UPDATE inboxes SET id = 9 WHERE id = 1", {"message 1"}),
        ("DELETE FROM inboxes WHERE id = 1", {"message 1"}),
        ("DELETE FROM inboxes", {"message 1", "message 2"}),
        ("DO $$ BEGIN INSERT INTO messages VALUES (9, 9); INSERT INTO threads VALUES (9, 1, 0); END $$", {"message 1"}),
    ],
)
def test_parents_that_are_not_declared(statement: str, expected: set[str], write: Callable[..., Write]) -> None:
    """Rows on the way note for their dependents: when they move, go by a cascade, or come after them."""
    run = write({Message: "thread.inbox.account_id"})
    fill(run)
    assert run(statement) == expected


def test_parents_with_models_of_their_own(write: Callable[..., Write]) -> None:
    """A declared parent notes its own model at each write, and its dependents' where they may have moved."""
    run = write({Message: "thread.inbox.account_id", Inbox: "account_id", Thread: touch("inbox", "inbox.account_id")})
    fill(run)
    assert run("UPDATE inboxes SET name = 'x' WHERE id = 1") == {"inbox 1"}
    assert run("UPDATE inboxes SET account_id = 3 WHERE id = 1") == {"inbox 1", "inbox 3", "message 1", "message 3"}
    assert run("UPDATE threads SET seen = 1 WHERE id = 2") == {"inbox 2"}
    assert run("DELETE FROM inboxes WHERE id = 2") == {"inbox 2", "message 2"}


def test_bulk_moves_are_quick(write: Callable[..., Write]) -> None:
    """To tell which parents moved takes no time that grows with the square of their number."""
    run = write({Message: "thread.inbox.account_id"})
    run("INSERT INTO inboxes SELECT g, g, '' FROM generate_series(1, 30000) g")
    run("SET LOCAL statement_timeout = '20s'; UPDATE inboxes SET name = 'x'")
    assert len(run("SET LOCAL statement_timeout = '20s'; UPDATE inboxes SET account_id = account_id + 1")) == 30001


def test_many_to_many(write: Callable[..., Write]) -> None:
    """A linked row touches both ends, each by its own way to its tenants; so does one that a cascade takes away."""
    accounts = sql("unnest(string_to_array(accounts, ' '))")
    run = write({Thread: "inbox.account_id", Agent: accounts})
    fill(run)
    assert run("INSERT INTO agents VALUES (1, '7 8'), (2, ''), (3, '8 bad/tenant')") == {"agent 7", "agent 8"}
    assert run("INSERT INTO thread_agents VALUES (1, 1)") == {"thread 1", "agent 7", "agent 8"}
    assert run("UPDATE thread_agents SET thread_id = 2") == {"thread 1", "thread 2", "agent 7", "agent 8"}
    assert run("DELETE FROM threads WHERE id = 2") >= {"thread 2", "agent 7", "agent 8"}
    run("INSERT INTO thread_agents VALUES (1, 1)")
    assert run("DELETE FROM agents WHERE id = 1") >= {"thread 1", "agent 7", "agent 8"}


def test_a_secondary_table_with_a_path(write: Callable[..., Write]) -> None:
    """A secondary table that is declared itself touches what it says, by the class at one of its ends."""
    run = write(
        {thread_agents: touch("inbox", "thread.inbox.account_id"), Inbox: "account_id", Thread: "inbox.account_id"}
    )
    fill(run)
    run("INSERT INTO agents VALUES (1, '7')")
    assert run("INSERT INTO thread_agents VALUES (1, 1)") == {"inbox 1", "thread 1"}
    assert run("UPDATE threads SET inbox_id = 2 WHERE id = 1") == {"inbox 1", "inbox 2", "thread 1", "thread 2"}


def test_joined_tables(write: Callable[..., Write]) -> None:
    """Each table of a class that is spread over several finds the tenant in the one that holds it."""
    run = write({Person: "account_id", Manager: "account_id"})
    assert run("INSERT INTO people VALUES (1, 1, 'manager'), (2, 2, 'person')") >= {"person 1", "person 2"}
    assert run("INSERT INTO managers VALUES (1, 'x')") == {"person 1", "manager 1"}
    assert run("UPDATE managers SET title = 'y'") == {"person 1", "manager 1"}
    assert run("UPDATE people SET account_id = 3 WHERE id = 1") == {"person 1", "person 3", "manager 1", "manager 3"}
    assert run("DELETE FROM people WHERE id = 1") == {"person 3", "manager 3"}
