"""The contract that every store keeps, with the durable level's on each database, and with each kind of copy."""

from collections.abc import AsyncIterator, Callable
from typing import ClassVar

import pytest
from adapters.sqlalchemy.tests.durable.databases import Database
from tests.support.servers import RedisServer

from cache_revalidate import MemoryStore, Store
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.testing import StoreContract


class Contract(StoreContract):
    """The contract, on one driver's database."""

    __test__ = False
    shares = True
    driver: ClassVar[str]

    @pytest.fixture
    async def store(self, shared_database: Callable[[str], Database]) -> AsyncIterator[Store]:
        """Give a store without copies."""
        async with shared_database(self.driver).store(self.driver) as store:
            yield store


class InMemory(Contract):
    """The contract with copies in this process's memory."""

    @pytest.fixture
    async def store(self, shared_database: Callable[[str], Database]) -> AsyncIterator[Store]:
        """Give a store with copies."""
        async with shared_database(self.driver).store(self.driver, MemoryStore()) as store:
            yield store


class InRedis(Contract):
    """The contract with copies in a real Redis."""

    @pytest.fixture
    async def store(
        self, shared_database: Callable[[str], Database], redis_server: RedisServer
    ) -> AsyncIterator[Store]:
        """Give a store with copies."""
        copy = RedisStore.from_url(redis_server.url, timeout=10)
        async with shared_database(self.driver).store(self.driver, copy) as store:
            yield store
            await store.aclose()


class TestSqlite(Contract):
    """On a SQLite file, by sqlite3."""

    __test__ = True
    driver = "sqlite3"


class TestAiosqlite(InMemory):
    """On a SQLite file, by aiosqlite."""

    __test__ = True
    driver = "aiosqlite"


class TestPsycopg(InRedis):
    """On PostgreSQL, by psycopg."""

    __test__ = True
    driver = "psycopg"


class TestAsyncPsycopg(Contract):
    """On PostgreSQL, by psycopg's asynchronous connections."""

    __test__ = True
    driver = "psycopg_async"


class TestAsyncpg(InRedis):
    """On PostgreSQL, by asyncpg."""

    __test__ = True
    driver = "asyncpg"


class TestPymysql(InMemory):
    """On MariaDB, by PyMySQL."""

    __test__ = True
    driver = "pymysql"


class TestAiomysql(Contract):
    """On MariaDB, by aiomysql."""

    __test__ = True
    driver = "aiomysql"
