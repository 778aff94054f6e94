"""The support desk that these tests write to, and a store that remembers what it was asked to bump."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import Column, Engine, ForeignKey, String, Table, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cache_revalidate import Keyspace, MemoryStore, Revalidator
from cache_revalidate_sqlalchemy import add_tables, touch

MODELS = ["conversation", "inbox", "label", "team"]


class Base(DeclarativeBase):
    """The desk's classes."""


TABLES = add_tables(Base.metadata)
"""Those of the durable level, in every database of the desk."""


conversation_labels = Table(
    "conversation_labels",
    Base.metadata,
    Column("conversation_id", ForeignKey("conversations.id"), primary_key=True),
    Column("label_id", ForeignKey("labels.id"), primary_key=True),
)


class Label(Base):
    """What marks conversations; its account may be none."""

    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int | None]
    title: Mapped[str] = mapped_column(String(100), default="")
    conversations: Mapped[list[Conversation]] = relationship(secondary=conversation_labels, back_populates="labels")


label_table = cast("Table", Label.__table__)


class Conversation(Base):
    """What has labels, in a many-to-many relationship."""

    __tablename__ = "conversations"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    labels: Mapped[list[Label]] = relationship(secondary=conversation_labels, back_populates="conversations")


class Inbox(Base):
    """What has members."""

    __tablename__ = "inboxes"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(100), default="")
    # Neither relationship knows the other: a member that is added or removed here is told nothing of it.
    members: Mapped[list[InboxMember]] = relationship(cascade="all, delete-orphan", overlaps="inbox")


class InboxMember(Base):
    """A row that depends on an inbox."""

    __tablename__ = "inbox_members"
    id: Mapped[int] = mapped_column(primary_key=True)
    inbox_id: Mapped[int] = mapped_column(ForeignKey("inboxes.id"))
    user_id: Mapped[int] = mapped_column(default=0)
    inbox: Mapped[Inbox] = relationship(overlaps="members")


class Team(Base):
    """One more class of an account."""

    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    name: Mapped[str] = mapped_column(String(100), default="")


team_table = cast("Table", Team.__table__)


class Note(Base):
    """A class that nobody attaches."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(100), default="")


ATTACHED: dict[Any, Any] = {
    Label: "account_id",
    Conversation: "account_id",
    Inbox: "account_id",
    Team: "account_id",
    InboxMember: touch("inbox", "inbox.account_id"),
}


class RecordingStore(MemoryStore):
    """A memory store that keeps a list of the bumps it took."""

    def __init__(self) -> None:
        super().__init__()
        self.bumps: list[set[str]] = []

    def bump_sync(self, keyspace: Keyspace, changes: Any) -> dict[str, dict[str, str]]:
        """Bump, and remember it."""
        self.bumps.append({f"{model} {tenant}" for tenant, models in changes.items() for model in models})
        return super().bump_sync(keyspace, changes)

    def bumped(self) -> set[str]:
        """Return what was bumped since the last question, as in {"label 1"}."""
        bumped = set[str]().union(*self.bumps)
        self.bumps.clear()
        return bumped


def new_revalidator(store: MemoryStore | None = None) -> Revalidator:
    """Return a revalidator of the desk's models."""
    return Revalidator(MODELS, store or RecordingStore())


@contextmanager
def sync_engine(url: str, **options: Any) -> Iterator[Engine]:
    """Give an engine with the desk's tables, which for SQLite follows the documented recipe for savepoints."""
    engine = create_engine(url, **options)
    if make_url(url).get_backend_name() == "sqlite":
        use_savepoint_recipe(engine)
    Base.metadata.create_all(engine)
    try:
        yield engine
    finally:
        engine.dispose()


async def async_engine(url: str, **options: Any) -> AsyncEngine:
    """Return such an engine for async sessions."""
    engine = create_async_engine(url, **options)
    if make_url(url).get_backend_name() == "sqlite":
        use_savepoint_recipe(engine.sync_engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine


def use_savepoint_recipe(engine: Engine) -> None:
    """Have SQLAlchemy, not sqlite3, begin transactions (SQLAlchemy's documentation, "Serializable isolation")."""

    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
