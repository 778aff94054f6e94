"""Runs the ledger's functions on connections of the app's engine, be it asynchronous or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from sqlalchemy import Connection, Engine, SingletonThreadPool, StaticPool
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.util import greenlet_spawn

from cache_revalidate import CacheRevalidateError, ConfigurationError, StoreError
from cache_revalidate_sqlalchemy.ledger import checked_dialect
from cache_revalidate_sqlalchemy.threads import Threads

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cache_revalidate_sqlalchemy.ledger import Schemas

_T = TypeVar("_T")
_PORTS = {"postgresql": 5432, "mysql": 3306}


class Engines:
    """The engine of an app, and the one that its code without an event loop uses."""

    def __init__(self, engine: Engine | AsyncEngine, sync_engine: Engine | None) -> None:
        behind = engine if isinstance(engine, Engine) else getattr(engine, "sync_engine", None)
        if not isinstance(behind, Engine):
            raise ConfigurationError(
                f"{engine!r} is no engine: pass what create_engine or create_async_engine returned."
            )
        if sync_engine is not None and (not isinstance(sync_engine, Engine) or sync_engine.dialect.is_async):
            raise ConfigurationError(f"sync_engine is {sync_engine!r}: pass what create_engine returned.")
        checked_dialect(behind.dialect)
        self._asynchronous = None if engine is behind else cast("AsyncEngine", engine)
        self._all = [each for each in (behind, sync_engine) if each is not None]
        self.sync = sync_engine or (behind if self._asynchronous is None else None)
        self._threads = Threads()

    @property
    def stays_in_thread(self) -> bool:
        """Whether each thread would see another database, as with SQLite's in memory."""
        return self.sync is not None and isinstance(self.sync.pool, SingletonThreadPool | StaticPool)

    @property
    def is_one_connection(self) -> bool:
        """Whether all that is done in the database shares one connection, and so its transaction, with all else."""
        return isinstance(self._all[0].pool, SingletonThreadPool | StaticPool)

    @property
    def schemas(self) -> Schemas | None:
        """The engine's `schema_translate_map`."""
        schemas: Schemas | None = self._all[0].get_execution_options().get("schema_translate_map")
        return schemas

    def serve(self, connection: Connection) -> bool:
        """Say whether a connection is to their database, as far as URLs tell."""
        place = _place(connection.engine.url)
        return any(
            # An engine's dialect is its own, and that of all that `Engine.execution_options` makes of it.
            connection.dialect is engine.dialect or (place is not None and place == _place(engine.url))
            for engine in self._all
        )

    async def run(self, work: Callable[[Connection], _T]) -> _T:
        """Run `work` on a connection; raise `StoreError` if the database does not let it."""
        if self._asynchronous is None:
            if self.stays_in_thread:
                return self.run_sync(work)
            return await asyncio.wrap_future(self._threads.submit(partial(self.run_sync, work)))
        # In one greenlet: an AsyncConnection makes one to connect, one to run in and one to close.
        return await greenlet_spawn(_run, self._asynchronous.sync_engine, work)

    def run_sync(self, work: Callable[[Connection], _T]) -> _T:
        """Do the same without an event loop, in this thread."""
        if self.sync is None:
            raise StoreError(
                "Code without an event loop asked for version tokens, and the store has an asynchronous engine alone: "
                "give it another, DurableStore(..., sync_engine=create_engine(...))."
            )
        return _run(self.sync, work)


def _run(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    try:
        with engine.connect() as connection:
            return work(connection)
    except Exception as error:
        raise _failure(error) from error


def _failure(error: Exception) -> Exception:
    if isinstance(error, CacheRevalidateError | ArgumentError | InvalidRequestError):
        return error
    return StoreError(f"The database of the version tokens failed: {type(error).__name__}: {error}")


def _place(url: URL) -> object:
    """Return where a database is; None where the URL does not tell, as with SQLite's in memory."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        in_memory = not url.database or ":memory:" in url.database or "mode=memory" in str(url)
        return None if in_memory else (backend, Path(str(url.database)).resolve())
    if not url.database:
        return None
    sockets = tuple(sorted((name, url.query[name]) for name in ("host", "port", "unix_socket") if name in url.query))
    backend = "mysql" if backend == "mariadb" else backend
    return backend, url.host, url.port or _PORTS.get(backend), url.database, sockets
