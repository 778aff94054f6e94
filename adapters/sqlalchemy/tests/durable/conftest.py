"""Databases of each kind, with the desk's tables in them."""

from collections.abc import Callable, Iterator

import pytest
from adapters.sqlalchemy.tests.durable.databases import Database, Databases

SERVERS = {"psycopg": "postgres_server", "psycopg_async": "postgres_server", "asyncpg": "postgres_server"} | {
    "pymysql": "mariadb_server",
    "aiomysql": "mariadb_server",
}


@pytest.fixture(scope="module")
def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Database]]:
    """Give a function of a driver's name that returns a database which this module's tests share."""
    with Databases(tmp_path_factory.mktemp("shared")) as databases:

        def shared(driver: str, use: str = "desk") -> Database:
            server = request.getfixturevalue(SERVERS[driver]) if driver in SERVERS else None
            return databases.get(server, use)

        yield shared


@pytest.fixture
def database_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Database]]:
    """Give a function of a driver's name that returns a database of this test's own."""
    with Databases(tmp_path_factory.mktemp("own")) as databases:

        def own(driver: str, use: str = "desk") -> Database:
            server = request.getfixturevalue(SERVERS[driver]) if driver in SERVERS else None
            return databases.get(server, use)

        yield own
