"""Fixtures that give tests real servers, and what those servers printed when a test fails."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import pytest

from tests.support.servers import PostgresServer, RedisServer, Server

_SHOWN_CHARACTERS = 8_000


@dataclass(frozen=True)
class PostgresDatabase:
    """A fresh database on a running server."""

    server: PostgresServer
    name: str

    def url(self, driver: str = "asyncpg") -> str:
        """Return its SQLAlchemy URL for a driver: `asyncpg`, `psycopg`."""
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the running servers printed to the report of a test that failed."""
    report = yield
    if report.failed:
        for server in Server.running:
            report.sections.append((str(server), server.output()[-_SHOWN_CHARACTERS:]))
    return report
