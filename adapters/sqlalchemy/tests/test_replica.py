"""Handlers that read from a lagging streaming replica: with their session bound, nobody is stale for good."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from adapters.sqlalchemy.tests.desk import ATTACHED, MODELS, TABLES, Label, label_table, sync_engine
from adapters.sqlalchemy.tests.replicated import FRAMEWORKS, Framework, Holder, Titles, make_app, titles_of, until
from sqlalchemy import create_engine, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from tests.support.servers import PostgresReplica, PostgresServer

from cache_revalidate import EVERY_TENANT, MemoryStore, Revalidator, SnapshotError
from cache_revalidate_sqlalchemy import DurableStore, attach, bind_snapshot

LAG = 0.7  # seconds; what a test must see before the replica shows more is held by pausing its replay
_accounts = itertools.count(1)


@dataclass(frozen=True)
class Pair:
    """A database on a primary and on its replica."""

    database: str
    primary: PostgresServer
    replica: PostgresReplica


@pytest.fixture(scope="module")
def pair(postgres_server: PostgresServer) -> Iterator[Pair]:
    """Give the desk's tables, on a primary and on a replica that shows everything a little late."""
    database = postgres_server.create_database()
    with sync_engine(postgres_server.url("psycopg", database)):
        pass
    with PostgresReplica(postgres_server, lag=LAG) as replica:
        yield Pair(database, postgres_server, replica)
    postgres_server.drop_database(database)


@pytest.fixture
def account() -> int:
    """Give an account that no other test has."""
    return next(_accounts)


@pytest_asyncio.fixture
async def primary(pair: Pair) -> AsyncIterator[AsyncEngine]:
    """Give an engine on the primary."""
    engine = create_async_engine(pair.primary.url("asyncpg", pair.database))
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture
async def replica(pair: Pair) -> AsyncIterator[AsyncEngine]:
    """Give an engine on the replica, whose replay goes on after the test whatever was done to it."""
    engine = create_async_engine(pair.replica.url("asyncpg", pair.database))
    yield engine
    await _replay(engine, "resume")
    await engine.dispose()


@pytest.fixture
def revalidator(primary: AsyncEngine) -> Revalidator:
    """Give a revalidator of the durable level on the primary."""
    return Revalidator(MODELS, DurableStore(primary, TABLES))


@pytest.fixture
def writers(primary: AsyncEngine, revalidator: Revalidator) -> Iterator[async_sessionmaker[AsyncSession]]:
    """Give attached sessions on the primary."""
    sessions = async_sessionmaker(primary)
    attachment = attach(revalidator, sessions, ATTACHED)
    yield sessions
    attachment.detach()


@pytest.fixture
def titles(replica: AsyncEngine, revalidator: Revalidator) -> Titles:
    """Give the handler's reading: from a bound session on the replica."""

    async def titles(account: int) -> list[str]:
        async with AsyncSession(replica) as session:
            await bind_snapshot(revalidator, session, account, "label")
            return list(await session.scalars(titles_of(account)))

    return titles


async def _replay(replica: AsyncEngine, what: str) -> None:
    """Have the replica pause, or resume, to show what was committed."""
    async with replica.connect() as connection:
        await connection.execute(text(f"SELECT pg_wal_replay_{what}()"))
        if what == "pause":

            async def is_paused() -> bool:
                return bool(await connection.scalar(text("SELECT pg_get_wal_replay_pause_state() = 'paused'")))

            await until(is_paused)


async def _add(sessions: async_sessionmaker[AsyncSession], account: int, title: str) -> None:
    async with sessions.begin() as session:
        session.add(Label(account_id=account, title=title))


async def _shows(replica: AsyncEngine, account: int, titles: list[str]) -> bool:
    async with AsyncSession(replica) as session:
        return list(await session.scalars(titles_of(account))) == titles


async def test_without_binding_a_client_is_stale_for_good(
    primary: AsyncEngine,
    replica: AsyncEngine,
    revalidator: Revalidator,
    writers: async_sessionmaker[AsyncSession],
    account: int,
) -> None:
    """The control: old rows that are filed under the primary's new token are never corrected."""

    async def unbound(account: int) -> list[str]:
        async with AsyncSession(replica) as session:
            return list(await session.scalars(titles_of(account)))

    client = Holder(make_app("middleware", revalidator, unbound), account)
    await _add(writers, account, "old")
    await until(lambda: _shows(replica, account, ["old"]))
    assert (await client.ask(), client.titles) == (200, ["old"])
    await _replay(replica, "pause")
    await _add(writers, account, "new")
    assert (await client.ask(), client.titles) == (200, ["old"])
    await _replay(replica, "resume")
    await until(lambda: _shows(replica, account, ["old", "new"]))
    assert ([await client.ask() for _ in range(3)], client.titles) == ([304] * 3, ["old"])


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_bound_client_is_late_and_then_right(
    framework: Framework,
    replica: AsyncEngine,
    revalidator: Revalidator,
    writers: async_sessionmaker[AsyncSession],
    titles: Titles,
    account: int,
) -> None:
    """In each framework old rows have the older tag, and the new ones come when the replica shows them; then 304."""
    client = Holder(make_app(framework, revalidator, titles), account)
    await _add(writers, account, "old")
    await client.ask_until(["old"])
    older = client.etag
    assert await client.ask() == 304

    await _replay(replica, "pause")
    await _add(writers, account, "new")
    late = Holder(client.app, account)
    assert (await late.ask(), late.titles, late.etag) == (200, ["old"], older)
    # The client that holds these rows already is told so by the handler's answer, whose body it need not get again.
    assert (await client.ask(), client.titles, client.etag) == (304, ["old"], older)

    await _replay(replica, "resume")
    await client.ask_until(["old", "new"])
    await late.ask_until(["old", "new"])
    assert late.etag == client.etag != older
    assert [await client.ask(), await late.ask()] == [304, 304]
    tokens = await revalidator.tokens(account, "label")
    assert client.answers[-1].headers["cache-keys"] == f'label="{tokens["label"]}"'


async def test_missing_version_row_means_no_validator(
    primary: AsyncEngine,
    replica: AsyncEngine,
    revalidator: Revalidator,
    titles: Titles,
    account: int,
) -> None:
    """Until the replica has a token its rows get none: neither is one minted there, nor is the primary's borrowed."""
    await _replay(replica, "pause")
    client = Holder(make_app("middleware", revalidator, titles), account)
    assert (await client.ask(), client.titles, client.etag) == (200, [], None)
    tokens = await revalidator.tokens(account, "label")
    await _replay(replica, "resume")
    await client.ask_until([])
    assert client.answers[-1].headers["cache-keys"] == f'label="{tokens["label"]}"'
    assert await client.ask() == 304


@pytest.mark.parametrize("tenant", ["own", "every"])
async def test_visible_pending_row_means_no_validator(
    tenant: str,
    primary: AsyncEngine,
    replica: AsyncEngine,
    revalidator: Revalidator,
    writers: async_sessionmaker[AsyncSession],
    titles: Titles,
    account: int,
) -> None:
    """Rows whose change is committed there and not folded yet, of the tenant or of every tenant, get no token."""
    client = Holder(make_app("middleware", revalidator, titles), account)
    await _add(writers, account, "old")
    await client.ask_until(["old"])
    older = client.etag

    namespace = revalidator.keyspace.namespace
    noted = EVERY_TENANT if tenant == "every" else str(account)
    async with primary.begin() as connection:  # another process's commit, which died before its fold
        await connection.execute(insert(label_table).values(account_id=account, title="new"))
        await connection.execute(insert(TABLES.pending).values(namespace=namespace, model="label", tenant=noted))
    await until(lambda: _shows(replica, account, ["old", "new"]))
    await _replay(replica, "pause")
    # The primary is asked for its token first, and folds; the replica shows the pending row, and the older token.
    assert (await client.ask(), client.titles, client.etag) == (200, ["old", "new"], None)
    assert (await client.ask(), client.etag) == (200, None)
    await _replay(replica, "resume")
    await client.ask_until(["old", "new"])
    assert client.etag != older
    assert await client.ask() == 304


async def test_called_after_a_query_is_refused(replica: AsyncEngine, revalidator: Revalidator, account: int) -> None:
    """A session that has read something is not bound, and what its handler answers all the same has no validator."""

    async def titles(account: int) -> list[str]:
        async with AsyncSession(replica) as session:
            rows = list(await session.scalars(titles_of(account)))
            with pytest.raises(SnapshotError, match="before the session's first query"):
                await bind_snapshot(revalidator, session, account, "label")
            return rows

    client = Holder(make_app("middleware", revalidator, titles), account)
    assert (await client.ask(), client.etag) == (200, None)


async def test_read_committed_reads_tokens_first(
    replica: AsyncEngine,
    revalidator: Revalidator,
    writers: async_sessionmaker[AsyncSession],
    account: int,
) -> None:
    """Rows that became visible between the tokens and the query go under the older tag, and are asked for again."""

    async def titles(account: int) -> list[str]:
        async with AsyncSession(replica) as session:
            await bind_snapshot(revalidator, session, account, "label", isolation="READ COMMITTED")
            await _replay(replica, "resume")
            await until(lambda: _shows(replica, account, ["old", "new"]))
            return list(await session.scalars(titles_of(account)))

    async def plain(account: int) -> list[str]:
        async with AsyncSession(replica) as session:
            await bind_snapshot(revalidator, session, account, "label", isolation="READ COMMITTED")
            return list(await session.scalars(titles_of(account)))

    client = Holder(make_app("middleware", revalidator, plain), account)
    await _add(writers, account, "old")
    await client.ask_until(["old"])
    older = client.etag
    await _replay(replica, "pause")
    await _add(writers, account, "new")
    during = Holder(make_app("middleware", revalidator, titles), account)
    assert (await during.ask(), during.titles, during.etag) == (200, ["old", "new"], older)
    await client.ask_until(["old", "new"])
    assert client.etag != older


def test_connection_is_returned_as_it_was(pair: Pair, account: int) -> None:
    """On a replica, sessions that are bound and sessions that are not share a pool's connection by turns."""
    replica = create_engine(pair.replica.url("psycopg", pair.database), pool_size=1, max_overflow=0)
    revalidator = Revalidator(MODELS, DurableStore(replica, TABLES))
    for isolation in ("REPEATABLE READ", "READ COMMITTED") * 2:
        with Session(replica) as session:
            assert bind_snapshot(revalidator, session, account, "label", isolation=isolation) == {"label": None}
            assert list(session.scalars(titles_of(account))) == []
        with Session(replica) as session:
            assert list(session.scalars(titles_of(account))) == []
    replica.dispose()


async def test_failover_that_loses_a_commit(pair: Pair, account: int) -> None:
    """While Redis has the lost commit's token, sessions bound to the new primary file no older rows under it."""
    copy = MemoryStore()
    held: dict[str, list[str]] = {}

    async def ask(client: Holder) -> None:
        await client.ask()
        if client.etag is not None and client.titles is not None:
            assert held.setdefault(client.etag, client.titles) == client.titles

    with PostgresReplica(pair.primary) as standby:
        async with _bound_desk(pair.primary.url("asyncpg", pair.database), copy) as before:
            await _add(before.sessions, account, "kept")
            first = Holder(before.app, account)
            await ask(first)
            async with _bound_desk(standby.url("asyncpg", pair.database), copy) as after:
                await until(lambda: _shows(after.engine, account, ["kept"]))
                await _cut_off(after.engine)
                await _add(before.sessions, account, "lost")
                await ask(first)
                assert first.titles == ["kept", "lost"]

                standby.promote()
                second = Holder(after.app, account)
                await ask(second)
                assert second.titles == ["kept"]
                first.app = after.app
                await ask(first)
                await _add(after.sessions, account, "other")
                for client in (first, second):
                    await ask(client)
                    assert client.titles == ["kept", "other"]
                    assert await client.ask() == 304


@dataclass(frozen=True)
class _Desk:
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    app: Any


@asynccontextmanager
async def _bound_desk(url: str, copy: MemoryStore) -> AsyncIterator[_Desk]:
    """Give an app on one database, whose handlers bind their sessions to it."""
    engine = create_async_engine(url)
    revalidator = Revalidator(MODELS, DurableStore(engine, TABLES, copy))
    sessions = async_sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED)

    async def titles(account: int) -> list[str]:
        async with sessions() as session:
            await bind_snapshot(revalidator, session, account, "label")
            return list(await session.scalars(titles_of(account)))

    yield _Desk(engine, sessions, make_app("middleware", revalidator, titles))
    attachment.detach()
    await engine.dispose()


async def _cut_off(standby: AsyncEngine) -> None:
    """Have a standby receive nothing any more."""
    async with standby.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("ALTER SYSTEM SET primary_conninfo = ''"))
        await connection.execute(text("SELECT pg_reload_conf()"))

        async def is_cut_off() -> bool:
            return bool(await connection.scalar(text("SELECT count(*) = 0 FROM pg_stat_wal_receiver")))

        await until(is_cut_off)
