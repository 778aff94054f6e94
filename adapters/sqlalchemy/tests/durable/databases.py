"""Databases with the desk's tables, and stores of the durable level on them, by the name of a driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from adapters.sqlalchemy.tests.desk import MODELS, TABLES, Base, async_engine, sync_engine
from sqlalchemy import Engine, func, select

from cache_revalidate import CopyStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore
from cache_revalidate_sqlalchemy.function import DropFold

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from tests.support.servers import MariaDBServer, PostgresServer

SYNC_BESIDE = {"aiosqlite": "sqlite3", "psycopg_async": "psycopg", "asyncpg": "psycopg", "aiomysql": "pymysql"}
"""Asynchronous drivers, and for each a synchronous one of the same database."""


@dataclass(frozen=True)
class Database:
    """One database."""

    server: PostgresServer | MariaDBServer | None
    name: str

    def url(self, driver: str) -> str:
        """Return its URL for a driver."""
        if self.server is not None:
            return self.server.url(driver, self.name)
        return f"sqlite{'+aiosqlite' if driver == 'aiosqlite' else ''}:///{self.name}"

    @contextmanager
    def sync_engine(self, driver: str, **options: Any) -> Iterator[Engine]:
        """Give an engine for a driver; of an asynchronous one, for the one beside it."""
        with sync_engine(self.url(SYNC_BESIDE.get(driver, driver)), **options) as engine:
            yield engine

    @asynccontextmanager
    async def async_engine(self, driver: str, **options: Any) -> AsyncIterator[AsyncEngine]:
        """Give an engine for an asynchronous driver."""
        engine = await async_engine(self.url(driver), **options)
        yield engine
        await engine.dispose()

    @asynccontextmanager
    async def store(self, driver: str, copy: CopyStore | None = None, **options: Any) -> AsyncIterator[DurableStore]:
        """Give a store on engines of its own, that of an asynchronous driver with a synchronous one beside."""
        with self.sync_engine(driver) as engine:
            if driver not in SYNC_BESIDE:
                yield DurableStore(engine, TABLES, copy, **options)
                return
            async with self.async_engine(driver) as asynchronous:
                yield DurableStore(asynchronous, TABLES, copy, sync_engine=engine, **options)


class Databases:
    """Makes databases, one for each kind and use, and drops them at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[object, str], Database] = {}
        self._drops = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drops.close()

    def get(self, server: PostgresServer | MariaDBServer | None, use: str = "desk") -> Database:
        """Return the database of a server, or a SQLite file, that serves a use."""
        if (server, use) not in self._made:
            name = server.create_database() if server is not None else str(self._folder / f"{use}.sqlite")
            if server is not None:
                self._drops.callback(server.drop_database, name)
            self._made[server, use] = Database(server, name)
        return self._made[server, use]


def revalidator_on(store: DurableStore, **options: Any) -> Revalidator:
    """Return a revalidator of the desk's models."""
    return Revalidator(MODELS, store, **options)


def count_pending(engine: Engine) -> int:
    """Return how many pending rows there are."""
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(TABLES.pending)) or 0


def by_steps(engine: Engine) -> None:
    """Drop the function that folds, as with tables that an older release made: folds take their steps one by one."""
    with engine.begin() as connection:
        connection.execute(DropFold(TABLES.versions))


def empty(engine: Engine) -> None:
    """Delete all rows of all of the desk's tables."""
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
