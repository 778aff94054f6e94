"""Every isolation level of each database, with a hot tenant: no transaction fails because of us."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import TABLES, Base
from adapters.sqlalchemy.tests.durable.databases import Database, by_steps, count_pending, empty
from adapters.sqlalchemy.tests.durable.load import WRITERS, Outcome, check_tokens, run_load
from sqlalchemy import Connection, Engine, create_engine, event, update

from cache_revalidate import Keyspace, new_token
from cache_revalidate_sqlalchemy import DurableStore

GetDatabase = Callable[..., Database]


def run_both(engine: Engine, *, by_orm: bool = False) -> tuple[Outcome, Outcome]:
    """Run the load with our listeners, and without."""
    empty(engine)
    ours = run_load(engine, DurableStore, by_orm=by_orm)
    check_tokens(ours)
    assert count_pending(engine) == 0
    empty(engine)
    control = run_load(engine, None, by_orm=by_orm)
    return ours, control


def no_more_fail(ours: Outcome, control: Outcome) -> None:
    """Assert that about as many transactions fail as without us: by the app's own statements."""
    assert len(ours.errors) <= 2 * len(control.errors) + 10


@contextmanager
def postgresql(shared_database: GetDatabase, fold: str, level: str) -> Iterator[Engine]:
    """Give an engine whose transactions are at an isolation level, and whose folds are one function or not."""
    with shared_database("psycopg", fold).sync_engine("psycopg", isolation_level=level) as engine:
        if fold == "by steps":
            by_steps(engine)
        yield engine


@pytest.mark.parametrize("fold", ["function", "by steps"])
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_postgresql(shared_database: GetDatabase, level: str, fold: str) -> None:
    """On PostgreSQL no transaction fails below SERIALIZABLE."""
    with postgresql(shared_database, fold, level) as engine:
        ours, control = run_both(engine, by_orm=True)
        assert ours.errors == control.errors == []


class BumpsInTheTransaction(DurableStore):
    """Writes the version row in the data's own transaction: why there are pending rows."""

    def note(self, keyspace: Keyspace, connection: Connection, changes: Any) -> None:
        """Bump."""
        connection.execute(update(TABLES.versions).values(token=new_token()))


def test_the_load_finds_conflicts(shared_database: GetDatabase) -> None:
    """Where transactions write one and the same row, many of the load's fail at REPEATABLE READ."""
    with shared_database("psycopg").sync_engine("psycopg", isolation_level="REPEATABLE READ") as engine:
        empty(engine)
        assert len(run_load(engine, BumpsInTheTransaction, by_orm=True).errors) > WRITERS


@pytest.mark.parametrize("fold", ["function", "by steps"])
def test_postgresql_serializable(shared_database: GetDatabase, fold: str) -> None:
    """At SERIALIZABLE no more transactions fail than without us."""
    with postgresql(shared_database, fold, "SERIALIZABLE") as engine:
        no_more_fail(*run_both(engine, by_orm=True))


@contextmanager
def mariadb(database: Database, level: str, snapshot_isolation: str) -> Iterator[Engine]:
    """Give an engine whose sessions are at an isolation level, with InnoDB's snapshot isolation or without."""
    with database.sync_engine("pymysql", isolation_level=level) as engine:

        def connected(connection: Any, _: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION innodb_snapshot_isolation = {snapshot_isolation}")

        engine.dispose()
        event.listen(engine, "connect", connected)
        yield engine


@pytest.mark.parametrize("snapshot_isolation", ["ON", "OFF"])
@pytest.mark.parametrize("level", ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ"])
def test_mariadb(shared_database: GetDatabase, level: str, snapshot_isolation: str) -> None:
    """On MariaDB no transaction fails below SERIALIZABLE, whether InnoDB refuses to write what it has not read."""
    with mariadb(shared_database("pymysql"), level, snapshot_isolation) as engine:
        ours, control = run_both(engine, by_orm=True)
        assert ours.errors == control.errors == []


@pytest.mark.parametrize("snapshot_isolation", ["ON", "OFF"])
def test_mariadb_serializable(shared_database: GetDatabase, snapshot_isolation: str) -> None:
    """At SERIALIZABLE, where reads lock what they read, no more transactions fail than without us."""
    with mariadb(shared_database("pymysql"), "SERIALIZABLE", snapshot_isolation) as engine:
        no_more_fail(*run_both(engine, by_orm=True))


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("begin", ["recipe", "sqlite3"])
def test_sqlite(database_of: GetDatabase, begin: str, journal: str) -> None:
    """On SQLite, whoever begins its transactions and wherever it keeps its journal, none fails that writes first."""
    database = database_of("sqlite3")
    with closing(sqlite3.connect(database.name)) as connection:
        assert connection.execute(f"PRAGMA journal_mode = {journal}").fetchone() == (journal,)
    with database.sync_engine("sqlite3") as recipe:
        ours, control = run_both(recipe) if begin == "recipe" else run_both(plain_engine(database))
        assert ours.errors == control.errors == []


def plain_engine(database: Database) -> Engine:
    """Return an engine whose transactions are begun by sqlite3, when it sees the first row change."""
    engine = create_engine(database.url("sqlite3"))
    Base.metadata.create_all(engine)
    return engine
