"""What `bind_snapshot` sees, and what it refuses, in the databases and drivers that the durable level knows."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import get_ident
from typing import Any, cast

import pytest
import pytest_asyncio
from adapters.sqlalchemy.tests.desk import MODELS, TABLES, Label, async_engine, label_table, sync_engine
from adapters.sqlalchemy.tests.replicated import FRAMEWORKS, Framework, Holder, make_app, titles_of
from sqlalchemy import Connection, Engine, create_engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from tests.support.fixtures import PostgresDatabase

from cache_revalidate import (
    EVERY_TENANT,
    ConfigurationError,
    MemoryStore,
    Revalidator,
    SnapshotError,
    UnknownModelError,
)
from cache_revalidate.bound import collect_bound
from cache_revalidate_sqlalchemy import DurableStore, bind_snapshot

DRIVERS = {"postgres_database": ("psycopg", "asyncpg"), "mariadb_database": ("pymysql", "aiomysql")}


def _url(request: pytest.FixtureRequest, folder: Path) -> str:
    if "sqlite" in request.param:
        return f"sqlite{'+aiosqlite' if request.param == 'aiosqlite' else ''}:///{folder / 'desk.sqlite'}"
    (fixture,) = (name for name, drivers in DRIVERS.items() if request.param in drivers)
    return str(request.getfixturevalue(fixture).url(request.param))


@pytest.fixture(params=["sqlite3", "psycopg", "pymysql"])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Give an engine of each synchronous driver."""
    with sync_engine(_url(request, tmp_path)) as engine:
        yield engine


@pytest_asyncio.fixture(params=["aiosqlite", "asyncpg", "aiomysql"])
async def any_async_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """Give an engine of each asynchronous driver."""
    engine = await async_engine(_url(request, tmp_path))
    yield engine
    await engine.dispose()


@pytest.fixture
def postgres(postgres_database: PostgresDatabase) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    with sync_engine(postgres_database.url("psycopg")) as engine:
        yield engine


def _revalidator(engine: Engine | AsyncEngine) -> Revalidator:
    return Revalidator(MODELS, DurableStore(engine, TABLES))


def _change(engine: Engine, revalidator: Revalidator, tenant: str, title: str = "new") -> None:
    """Commit a label of account 1, and what notes it; nobody folds."""
    with engine.begin() as connection:
        _change_on(connection, revalidator, tenant, title)


def _change_on(connection: Connection, revalidator: Revalidator, tenant: str, title: str) -> None:
    noted = {"namespace": revalidator.keyspace.namespace, "model": "label", "tenant": tenant}
    connection.execute(insert(label_table).values(account_id=1, title=title))
    connection.execute(insert(TABLES.pending).values(noted))


def _rows(engine: Engine) -> tuple[int, ...]:
    with engine.connect() as connection:
        tables = (TABLES.versions, TABLES.pending)
        return tuple(cast("int", connection.scalar(select(func.count()).select_from(table))) for table in tables)


def _titles(session: Session) -> list[str]:
    return list(session.scalars(select(Label.title)))


def test_what_is_seen(any_engine: Engine) -> None:
    """The tokens are the primary's; a model without version row has none, and nothing is written to give it one."""
    revalidator = _revalidator(any_engine)
    label = revalidator.sync.bump(1, "label")
    before = _rows(any_engine)
    with Session(any_engine) as session, collect_bound(revalidator) as bindings:
        assert bind_snapshot(revalidator, session, 1, "label", "inbox") == {"inbox": None, **label}
    with Session(any_engine) as session:
        assert bind_snapshot(revalidator, session, 1) == {**dict.fromkeys(MODELS), **label}
    assert bindings.tokens("1", ["label"]) == label
    assert bindings.tokens("1", ["label", "inbox"]) is None
    assert _rows(any_engine) == before


@pytest.mark.parametrize("tenant", ["1", EVERY_TENANT])
def test_pending_row_that_is_seen(any_engine: Engine, tenant: str) -> None:
    """A model of which something is pending has no token, be it the tenant's or every tenant's; it is left unfolded."""
    revalidator = _revalidator(any_engine)
    revalidator.sync.bump(1, "label", "inbox")
    _change(any_engine, revalidator, tenant)
    before = _rows(any_engine)
    with Session(any_engine) as session, collect_bound(revalidator) as bindings:
        tokens = bind_snapshot(revalidator, session, 1, "label", "inbox")
    assert (tokens["label"], tokens["inbox"] is None) == (None, False)
    assert bindings.tokens("1", ["label"]) is None
    assert _rows(any_engine) == before


def test_pending_row_of_others(any_engine: Engine) -> None:
    """What is pending of another tenant, model or namespace is of no concern."""
    revalidator = _revalidator(any_engine)
    label = revalidator.sync.bump(1, "label")
    other = Revalidator(MODELS, revalidator.store, namespace="other")
    _change(any_engine, revalidator, "2")
    _change(any_engine, other, "1")
    with Session(any_engine) as session:
        assert bind_snapshot(revalidator, session, 1, "label") == label


@pytest.mark.parametrize("any_engine", ["psycopg", "pymysql"], indirect=True)
def test_rows_are_those_of_the_snapshot(any_engine: Engine) -> None:
    """What is committed after the tokens were read is not among the rows."""
    revalidator = _revalidator(any_engine)
    with Session(any_engine) as session:
        bind_snapshot(revalidator, session, 1, "label")
        _change(any_engine, revalidator, "1")
        assert _titles(session) == []
        session.rollback()
        assert _titles(session) == ["new"]


async def test_asynchronous_session(any_async_engine: AsyncEngine) -> None:
    """Asynchronous sessions are bound alike, by awaiting the same call."""
    revalidator = _revalidator(any_async_engine)
    label = await revalidator.bump(1, "label")
    async with AsyncSession(any_async_engine) as session:
        with collect_bound(revalidator) as bindings:
            assert await bind_snapshot(revalidator, session, 1, "label") == label
            assert list(await session.scalars(select(Label.title))) == []
        assert bindings.tokens("1", ["label"]) == label
        with collect_bound(revalidator) as bindings, pytest.raises(SnapshotError):
            await bind_snapshot(revalidator, session, 1, "label")
        assert bindings.tokens("1", ["label"]) is None
        assert bindings


@pytest.mark.parametrize("any_async_engine", ["asyncpg", "aiomysql"], indirect=True)
async def test_rows_are_those_of_the_asynchronous_snapshot(any_async_engine: AsyncEngine) -> None:
    """What is committed after the tokens were read is not among the rows."""
    revalidator = _revalidator(any_async_engine)
    async with AsyncSession(any_async_engine) as session:
        await bind_snapshot(revalidator, session, 1, "label")
        async with any_async_engine.begin() as connection:
            await connection.run_sync(_change_on, revalidator, "1", "new")
        assert list(await session.scalars(select(Label.title))) == []


async def test_session_of_a_scope(any_async_engine: AsyncEngine, tmp_path: Path) -> None:
    """A scoped session is bound as the one that it stands for."""
    revalidator = _revalidator(any_async_engine)
    label = await revalidator.bump(1, "label")
    scoped = async_scoped_session(async_sessionmaker(any_async_engine), asyncio.current_task)
    assert await bind_snapshot(revalidator, scoped, 1, "label") == label
    await scoped.remove()
    with sync_engine(f"sqlite:///{tmp_path / 'other.sqlite'}") as engine:
        sessions = scoped_session(sessionmaker(engine))
        assert bind_snapshot(revalidator, sessions, 1, "label") == {"label": None}
        sessions.remove()


def test_called_after_a_query(any_engine: Engine) -> None:
    """A session that has read something is refused, whatever it was; one that has only begun is not."""
    revalidator = _revalidator(any_engine)
    label = revalidator.sync.bump(1, "label")
    with Session(any_engine) as session, collect_bound(revalidator) as bindings:
        session.begin()
        session.add(Label(account_id=1))
        assert bind_snapshot(revalidator, session, 1, "label") == label
        session.rollback()
        session.execute(select(1))
        with pytest.raises(SnapshotError, match="before the session's first query"):
            bind_snapshot(revalidator, session, 1, "label")
    assert bindings.tokens("1", ["label"]) is None


def test_isolation(postgres: Engine) -> None:
    """By default the transaction reads alone and sees one snapshot, even where the engine says otherwise."""
    level = text("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
    with sync_engine(postgres.url.render_as_string(), isolation_level="READ COMMITTED") as given:
        revalidator = _revalidator(given)
        with Session(given) as session:
            bind_snapshot(revalidator, session, 1)
            assert session.execute(level).one() == ("repeatable read", "on")
            session.add(Label(account_id=1))
            with pytest.raises(DBAPIError, match="read-only"):
                session.flush()
        with Session(given) as session:
            bind_snapshot(revalidator, session, 1, isolation="READ COMMITTED")
            assert session.execute(level).one() == ("read committed", "off")
            session.add(Label(account_id=1))
            session.commit()
            assert session.execute(level).one() == ("read committed", "off")


def test_session_that_goes_on_elsewhere(postgres: Engine) -> None:
    """A second transaction, or a second database, is none of the snapshot's; a savepoint is."""
    revalidator = _revalidator(postgres)
    label = revalidator.sync.bump(1, "label")
    other = create_engine(postgres.url)
    with Session(postgres) as session, collect_bound(revalidator) as bindings:
        bind_snapshot(revalidator, session, 1, "label")
        with session.begin_nested():
            session.execute(select(1))
        assert bindings.tokens("1", ["label"]) == label
        session.rollback()
        assert bindings.tokens("1", ["label"]) == label
        session.execute(select(1))
        assert bindings.tokens("1", ["label"]) is None
    with Session(postgres) as session, collect_bound(revalidator) as bindings:
        bind_snapshot(revalidator, session, 1, "label")
        session.rollback()
        assert bind_snapshot(revalidator, session, 1, "label") == label
        assert bindings.tokens("1", ["label"]) == label
        session.connection(bind_arguments={"bind": other})
        assert bindings.tokens("1", ["label"]) is None
    other.dispose()


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_handler_in_a_thread(framework: Framework, tmp_path: Path) -> None:
    """What a synchronous handler binds, in the thread that its framework runs it in, is what its answer says."""
    with sync_engine(f"sqlite:///{tmp_path / 'desk.sqlite'}") as engine:
        revalidator = _revalidator(engine)
        label: dict[str, str] = {}
        threads = set[int]()

        def titles(account: int) -> list[str]:
            threads.add(get_ident())
            label.update(revalidator.sync.bump(account, "label"))  # after the middleware has read its tokens
            with Session(engine) as session:
                bind_snapshot(revalidator, session, account, "label")
                return list(session.scalars(titles_of(account)))

        client = Holder(make_app(framework, revalidator, titles), 1)
        assert (await client.ask(), client.titles) == (200, [])
        assert client.answers[-1].headers["cache-keys"] == f'label="{label["label"]}"'
        assert await client.ask() == 304
        assert get_ident() not in threads


async def test_copy_is_left_alone(any_async_engine: AsyncEngine) -> None:
    """What a snapshot shows never gets into the copies, which are filled from the primary alone."""
    copy = MemoryStore()
    revalidator = Revalidator(MODELS, DurableStore(any_async_engine, TABLES, copy))
    label = await Revalidator(MODELS, DurableStore(any_async_engine, TABLES)).bump(1, "label")
    async with AsyncSession(any_async_engine) as session:
        assert await bind_snapshot(revalidator, session, 1, "label") == label
    assert await copy.peek(revalidator.keyspace, "1", ["label"]) == {}


def test_session_of_several_databases(postgres: Engine, tmp_path: Path) -> None:
    """The database whose rows the handler reads is named as in `Session.connection`."""
    revalidator = _revalidator(postgres)
    label = revalidator.sync.bump(1, "label")
    with sync_engine(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        binds: dict[Any, Any] = {Label: postgres, TABLES.versions: other}
        with Session(binds=binds) as session:
            assert bind_snapshot(revalidator, session, 1, "label", bind_arguments={"mapper": Label}) == label


def test_session_joined_to_a_connection(any_engine: Engine) -> None:
    """Where the transaction is somebody else's and has begun, as in test suites, the tokens are read first."""
    revalidator = _revalidator(any_engine)
    label = revalidator.sync.bump(1, "label")
    with any_engine.connect() as connection:
        with Session(connection) as session:
            assert bind_snapshot(revalidator, session, 1, "label") == label
        connection.rollback()
        connection.execute(select(1))
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            assert bind_snapshot(revalidator, session, 1, "label") == label
        assert connection.in_transaction()


def test_what_can_not_be_bound(any_engine: Engine) -> None:
    """What is no session, level or model is refused, and so is a store that has nothing in the database."""
    revalidator = _revalidator(any_engine)
    with Session(any_engine) as session, any_engine.connect() as connection:
        with pytest.raises(ConfigurationError, match="was given a Connection"):
            bind_snapshot(revalidator, connection, 1)  # type: ignore[call-overload]
        with pytest.raises(ConfigurationError, match="choose one of REPEATABLE READ, READ COMMITTED"):
            bind_snapshot(revalidator, session, 1, isolation="SERIALIZABLE")  # type: ignore[call-overload]
        with pytest.raises(UnknownModelError):
            bind_snapshot(revalidator, session, 1, "lable")
        with pytest.raises(ConfigurationError, match="this store is a MemoryStore"):
            bind_snapshot(Revalidator(MODELS), session, 1)


def test_malformed_token_is_none(any_engine: Engine) -> None:
    """A version row that holds no token, by whatever hand, counts as missing."""
    revalidator = _revalidator(any_engine)
    revalidator.sync.bump(1, "label")
    with any_engine.begin() as connection:
        connection.execute(TABLES.versions.update().values(token="x"))
    with Session(any_engine) as session:
        assert bind_snapshot(revalidator, session, 1, "label") == {"label": None}
