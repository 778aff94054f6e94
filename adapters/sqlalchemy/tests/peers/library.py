"""What a scenario may ask of a library: sessions, writes the way its documentation says, and lists it keeps fresh."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from adapters.sqlalchemy.tests.peers.database import Database, View
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker


class Store(Protocol):
    """Where a library keeps what it knows."""

    is_away: bool
    """Whether every write to it fails."""


class Library(ABC):
    """A library that is told, or sees, what sessions write, and thereby knows which lists it must not serve again.

    The methods that write are for objects of the session; they are the calls that the library's documentation names.
    """

    refusals: tuple[type[Exception], ...] = ()
    """What it raises instead of executing a statement that it can't judge."""

    sessions: sessionmaker[Session]
    store: Store

    def __init__(self, database: Database) -> None:
        self.database = database

    @abstractmethod
    def async_sessions(self, engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
        """Return what makes asynchronous sessions."""

    @abstractmethod
    def add(self, session: Session, rows: Sequence[Any]) -> None:
        """Insert rows."""

    @abstractmethod
    def change(self, session: Session, row: Any) -> None:
        """Write what was assigned to a row."""

    @abstractmethod
    def change_many(self, session: Session, rows: Sequence[Any]) -> None:
        """Write what was assigned to rows, in one call."""

    @abstractmethod
    def delete(self, session: Session, row: Any) -> None:
        """Delete a row."""

    @abstractmethod
    def delete_many(self, session: Session, rows: Sequence[Any]) -> None:
        """Delete rows, in one call."""

    @abstractmethod
    async def change_async(self, session: AsyncSession, row: Any) -> None:
        """Write what was assigned to a row of an asynchronous session."""

    @abstractmethod
    def read(self, view: View) -> list[Any]:
        """Serve a list: the one that was kept, if nothing is thought to have changed."""

    @abstractmethod
    def close(self) -> None:
        """Stop following sessions."""

    @contextmanager
    def store_away(self) -> Iterator[None]:
        """Have every write to the library's store fail for a while."""
        self.store.is_away = True
        try:
            yield
        finally:
            self.store.is_away = False
