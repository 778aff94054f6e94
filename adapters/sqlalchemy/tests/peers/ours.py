"""cache_revalidate, on level 1, as a scenario sees it."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from adapters.sqlalchemy.tests.desk import ATTACHED, MODELS
from adapters.sqlalchemy.tests.peers.database import Database, View
from adapters.sqlalchemy.tests.peers.library import Library
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import Keyspace, MemoryStore, Revalidator, StoreError
from cache_revalidate_sqlalchemy import UnknownTenantError, attach


class LeavingStore(MemoryStore):
    """A memory store that can be away."""

    is_away = False

    def bump_sync(self, keyspace: Keyspace, changes: Any) -> Any:
        """Bump, unless it is away."""
        if self.is_away:
            raise StoreError("away")
        return super().bump_sync(keyspace, changes)


class CacheRevalidate(Library):
    """Sessions attached, lists held under their token: a client's, or the server's own."""

    refusals = (UnknownTenantError,)

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.store = LeavingStore()
        self._revalidator = Revalidator(MODELS, self.store)
        self._elsewhere = Revalidator(MODELS, self.store)
        self.sessions = sessionmaker(database.writing)
        self._attachments = [attach(self._revalidator, self.sessions, ATTACHED)]
        self._held: dict[View, tuple[str, list[Any]]] = {}

    def async_sessions(self, engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
        """Return attached sessions."""
        sessions = async_sessionmaker(engine)
        self._attachments.append(attach(self._revalidator, sessions, ATTACHED))
        return sessions

    def add(self, session: Session, rows: Sequence[Any]) -> None:
        """Add to the session."""
        session.add_all(rows)

    def change(self, session: Session, row: Any) -> None:
        """Leave it to the session's flush."""
        session.flush()

    def change_many(self, session: Session, rows: Sequence[Any]) -> None:
        """Leave it to the session's flush."""
        session.flush()

    def delete(self, session: Session, row: Any) -> None:
        """Delete in the session."""
        session.delete(row)

    def delete_many(self, session: Session, rows: Sequence[Any]) -> None:
        """Delete in the session."""
        for row in rows:
            session.delete(row)

    async def change_async(self, session: AsyncSession, row: Any) -> None:
        """Leave it to the session's flush."""
        await session.flush()

    def read(self, view: View) -> list[Any]:
        """Read the token first, then the rows, if those that are held have another."""
        token = self._token(view)
        if view not in self._held or self._held[view][0] != token:
            self._held[view] = token, self.database.rows(view)
        return self._held[view][1]

    def close(self) -> None:
        """Detach."""
        for attachment in self._attachments:
            attachment.detach()

    def _token(self, view: View) -> str:
        revalidator = self._elsewhere if view.elsewhere else self._revalidator
        # A thread of its own, because some scenarios read while an event loop runs in this one.
        with ThreadPoolExecutor(1) as thread:
            tokens = thread.submit(asyncio.run, revalidator.tokens(view.tenant, view.model)).result()
        return tokens[view.model]
