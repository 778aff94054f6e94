"""Sessions that are bound to several databases: each notes what its transactions touch, one holds the tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, Team, use_savepoint_recipe
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending, empty, revalidator_on
from sqlalchemy import Engine, create_engine, event, insert, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import ConfigurationError, MemoryStore, Revalidator, StoreError
from cache_revalidate_sqlalchemy import DurableStore, attach

GetDatabase = Callable[..., Database]


@pytest.fixture
def home(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give the database with labels, which holds the tokens."""
    with shared_database("psycopg").sync_engine("psycopg") as engine:
        empty(engine)
        yield engine


@pytest.fixture
def other(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give the database with teams."""
    with shared_database("sqlite3").sync_engine("sqlite3") as engine:
        empty(engine)
        yield engine


@contextmanager
def attached(store: DurableStore, sessions: Any, **options: Any) -> Iterator[Revalidator]:
    """Attach a store to sessions."""
    revalidator = revalidator_on(store)
    attachment = attach(revalidator, sessions, ATTACHED, **options)
    yield revalidator
    attachment.detach()


def tokens(revalidator: Revalidator, tenant: int = 1) -> dict[str, str]:
    """Return a tenant's tokens of labels and teams."""
    return asyncio.run(revalidator.tokens(tenant, "label", "team"))


def changed(revalidator: Revalidator, before: dict[str, str], tenant: int = 1) -> set[str]:
    """Return the models whose tokens have grown since."""
    now = tokens(revalidator, tenant)
    assert all(now[model] >= token for model, token in before.items())
    return {model for model, token in before.items() if now[model] != token}


def note_team(engine: Engine, tenant: str = "1") -> None:
    """Note that a team was touched, as a process does that dies after its commit."""
    with engine.begin() as connection:
        connection.execute(insert(TABLES.pending).values(namespace="cache_revalidate", model="team", tenant=tenant))


@pytest.mark.parametrize("autocommit", [False, True])
def test_each_bind_is_noted_and_forwarded(home: Engine, other: Engine, autocommit: bool) -> None:
    """A commit to both databases is noted in both, and its tokens are there when it returns."""
    teams = other.execution_options(isolation_level="AUTOCOMMIT") if autocommit else other
    sessions = sessionmaker(binds={Label: home, Team: teams})
    with attached(DurableStore(home, TABLES, others=[other]), sessions) as revalidator:
        before = tokens(revalidator)
        with sessions.begin() as session:
            session.add_all([Label(account_id=1), Team(account_id=1)])
        assert count_pending(home) == count_pending(other) == 0
        assert changed(revalidator, before) == {"label", "team"}
        before = tokens(revalidator)
        with sessions.begin() as session:
            session.add(Team(account_id=1))
        assert changed(revalidator, before) == {"team"}


async def test_asynchronous_binds(shared_database: GetDatabase, home: Engine, other: Engine) -> None:
    """So it is in an asynchronous session, and a synchronous one beside it has the other engines of the pairs."""
    async with (
        shared_database("asyncpg").async_engine("asyncpg") as home_engine,
        shared_database("aiosqlite").async_engine("aiosqlite") as other_engine,
    ):
        store = DurableStore(home_engine, TABLES, sync_engine=home, others=[(other_engine, other)])
        sessions = async_sessionmaker(binds={Label: home_engine, Team: other_engine})
        with attached(store, sessions) as revalidator:
            before = await revalidator.tokens(1, "label", "team")
            async with sessions.begin() as session:
                session.add_all([Label(account_id=1), Team(account_id=1)])
            assert count_pending(home) == count_pending(other) == 0
            after = await revalidator.tokens(1, "label", "team")
            assert after["label"] > before["label"]
            assert after["team"] > before["team"]
            note_team(other)
            assert revalidator.sync.fold_many({"1": ["team"]})["1"]["team"] > after["team"]
        alone = revalidator_on(DurableStore(home_engine, TABLES, sync_engine=home, others=[other_engine]))
        with pytest.raises(StoreError, match="asynchronous engine alone"):
            alone.sync.fold_many({"1": ["team"]})


def test_a_read_sees_what_nobody_forwarded(home: Engine, other: Engine) -> None:
    """What a dead process has noted in another database is counted in by the next read; a sweep finds it, too."""
    revalidator = revalidator_on(DurableStore(home, TABLES, others=[other]))
    before = tokens(revalidator)
    note_team(other)
    assert changed(revalidator, before) == {"team"}
    assert count_pending(other) == count_pending(home) == 0

    note_team(other)
    store = revalidator.store
    assert isinstance(store, DurableStore)

    async def sweep() -> None:
        newest = await store.sweep(revalidator.keyspace, None)
        assert newest is not None
        assert await store.sweep(revalidator.keyspace, newest) is None

    asyncio.run(sweep())
    assert count_pending(other) == count_pending(home) == 0


def test_a_row_for_every_tenant_is_forwarded(home: Engine, other: Engine) -> None:
    """A pending row of another database that means every tenant reaches them all."""
    revalidator = revalidator_on(DurableStore(home, TABLES, others=[other]))
    first, second = tokens(revalidator, 1), tokens(revalidator, 2)
    sessions = sessionmaker(binds={Label: home, Team: other})
    with attached(DurableStore(home, TABLES, others=[other]), sessions, on_unknown_tenant="every_tenant"):
        with sessions.begin() as session:
            session.connection(bind_arguments={"mapper": Team}).execute(update(Team).values(name="renamed"))
        assert count_pending(home) == count_pending(other) == 0
    assert changed(revalidator, first, 1) == changed(revalidator, second, 2) == {"team"}
    note_team(other, "*")
    first = tokens(revalidator, 2)
    assert changed(revalidator, first, 2) == set()


def test_a_crash_between_forward_and_delete(home: Engine, other: Engine) -> None:
    """What was forwarded and not deleted is forwarded again: a bump too many, and nothing lost."""
    revalidator = revalidator_on(DurableStore(home, TABLES, others=[other]))
    before = tokens(revalidator)
    note_team(other)

    def crash(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(f"DELETE FROM {TABLES.pending.name}"):
            raise ConnectionError("the process is killed")

    event.listen(other, "before_cursor_execute", crash)
    with pytest.raises(StoreError, match="the process is killed"):
        tokens(revalidator)
    event.remove(other, "before_cursor_execute", crash)
    assert (count_pending(home), count_pending(other)) == (1, 1)
    assert changed(revalidator, before) == {"team"}
    assert count_pending(home) == count_pending(other) == 0


def test_another_database_that_is_away(home: Engine, other: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Reads fail that could miss something; commits at home are folded all the same, and nothing is lost."""
    sessions = sessionmaker(home)
    with attached(DurableStore(home, TABLES, MemoryStore(), others=[other]), sessions) as revalidator:
        before = tokens(revalidator)

        def refuse(*_: object) -> None:
            raise ConnectionError("no route")

        event.listen(other, "before_cursor_execute", refuse)
        with sessions.begin() as session:
            session.add(Label(account_id=1))
        assert "no route" in caplog.text
        assert count_pending(home) == 0
        with pytest.raises(StoreError, match="no route"):
            tokens(revalidator)
        event.remove(other, "before_cursor_execute", refuse)
        assert changed(revalidator, before) == {"label"}


def test_a_bind_that_the_store_does_not_know(home: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """What is committed to a database without the tables is noted at home after its commit, and that is said once."""
    unknown = create_engine("sqlite://")
    use_savepoint_recipe(unknown)
    Team.metadata.tables["teams"].create(unknown)
    sessions: sessionmaker[Session] = sessionmaker(binds={Label: home, Team: unknown})
    with caplog.at_level(logging.WARNING, "cache_revalidate"), attached(DurableStore(home, TABLES), sessions) as ours:
        for number in range(2):
            before = tokens(ours)
            with sessions.begin() as session:
                session.add_all([Team(account_id=1), *([Label(account_id=1)] if number else [])])
            assert changed(ours, before) == ({"team", "label"} if number else {"team"})
        before = tokens(ours)
        with sessions() as session:
            session.add(Team(account_id=1))
            session.flush()
            session.rollback()
        assert changed(ours, before) == set()
    assert [record.getMessage().count("is not known to the DurableStore") for record in caplog.records] == [1]
    unknown.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "sqlite3", "pymysql"])
def test_the_same_database_by_another_engine(
    shared_database: GetDatabase, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A store with an engine of its own knows its database when it meets it."""
    database = shared_database(driver)
    with database.sync_engine(driver) as mine, database.sync_engine(driver) as apps:
        sessions = sessionmaker(apps)
        with attached(DurableStore(mine, TABLES), sessions) as revalidator:
            before = tokens(revalidator)
            seen: list[int] = []
            event.listen(apps, "commit", lambda connection: seen.append(_count(connection)))
            with sessions.begin() as session:
                session.add(Label(account_id=1))
            assert seen == [1]
            assert changed(revalidator, before) == {"label"}
    assert caplog.text == ""


def _count(connection: Any) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {TABLES.pending.name}").scalar())


def test_schemas_of_tenants_are_not_ours(home: Engine) -> None:
    """A session whose tables are in a tenant's schema notes where the store's tables are."""
    with home.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS acme CASCADE"))
        connection.execute(text("CREATE SCHEMA acme"))
        connection.execute(text("CREATE TABLE acme.labels (LIKE public.labels INCLUDING ALL)"))
    sessions = sessionmaker(home.execution_options(schema_translate_map={None: "acme"}))
    with attached(DurableStore(home, TABLES), sessions) as revalidator:
        before = tokens(revalidator)
        with sessions.begin() as session:
            session.add(Label(account_id=1))
        assert changed(revalidator, before) == {"label"}


def test_others_are_checked(home: Engine) -> None:
    """What is no engine is refused when the store is made."""
    for wrong in ("sqlite://", (home, "sqlite://")):
        with pytest.raises(ConfigurationError, match="what create_engine"):
            DurableStore(home, TABLES, others=[wrong])  # type: ignore[list-item]
