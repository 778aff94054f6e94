"""Fixtures that give tests real servers, and what those servers printed when a test fails."""

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import pytest

from tests.support.servers import SHOWN_CHARACTERS, MariaDBServer, PostgresServer, RedisServer, Server

_PRINTED_BEFORE = pytest.StashKey[dict[Server, int]]()


@dataclass(frozen=True)
class PostgresDatabase:
    """A fresh database on a running server."""

    server: PostgresServer
    name: str

    def url(self, driver: str = "asyncpg") -> str:
        """Return its SQLAlchemy URL for a driver: `asyncpg`, `psycopg`."""
        return self.server.url(driver, self.name)


@dataclass(frozen=True)
class MariaDBDatabase:
    """A fresh database on a running server."""

    server: MariaDBServer
    name: str

    def url(self, driver: str = "aiomysql") -> str:
        """Return its SQLAlchemy URL for a driver: `aiomysql`, `pymysql`."""
        return self.server.url(driver, self.name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Give a Redis that all tests share: neither stop it nor count on finding it empty."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server_own() -> Iterator[RedisServer]:
    """Give a Redis that this test may stop, kill or freeze."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give a PostgreSQL that all tests share: do not stop it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """Give an empty PostgreSQL database, dropped after the test."""
    name = postgres_server.create_database()
    yield PostgresDatabase(postgres_server, name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """Give a MariaDB that all tests share: do not stop it."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def mariadb_database(mariadb_server: MariaDBServer) -> Iterator[MariaDBDatabase]:
    """Give an empty MariaDB database, dropped after the test."""
    name = mariadb_server.create_database()
    yield MariaDBDatabase(mariadb_server, name)
    mariadb_server.drop_database(name)


@pytest.fixture(autouse=True)
def logging_as_found() -> Iterator[None]:
    """Undo what an app that a test made did to the process's logging: Litestar sets up the root logger."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note how much the running servers had printed before a test."""
    item.stash[_PRINTED_BEFORE] = {server: len(server.output()) for server in Server.running}
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the running servers have printed since a test began to its report, if it failed."""
    report = yield
    if report.failed:
        for server in Server.running:
            if printed := server.output()[item.stash[_PRINTED_BEFORE].get(server, 0) :]:
                report.sections.append((str(server), printed[-SHOWN_CHARACTERS:]))
    return report
