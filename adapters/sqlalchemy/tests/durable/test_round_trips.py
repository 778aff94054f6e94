"""How often a commit and a read ask PostgreSQL, counted on the wire: one more is a regression."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, Team
from adapters.sqlalchemy.tests.durable.databases import Database, by_steps, empty, revalidator_on
from sqlalchemy import insert, make_url, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from tests.support.proxy import Proxy

from cache_revalidate_sqlalchemy import DurableStore, attach

GetDatabase = Callable[..., Database]
Sessions = async_sessionmaker[AsyncSession]
DRIVERS = ["asyncpg", "psycopg_async"]
TIMES = 10
WARM_UP = 12
"""How often something is done before it is counted: psycopg prepares a statement when it comes for the fifth time."""


@asynccontextmanager
async def proxied(database: Database, driver: str, proxy: Proxy) -> AsyncIterator[AsyncEngine]:
    """Give an engine of one connection that goes through a proxy."""
    url = make_url(database.url(driver))
    with database.sync_engine(driver) as beside:
        empty(beside)
    proxy.upstream = (str(url.host), int(url.port or 0))
    async with proxy.serving() as port:
        engine = create_async_engine(url.set(port=port), pool_size=1, max_overflow=0)
        yield engine
        await engine.dispose()


async def count(proxy: Proxy, work: Callable[[], Awaitable[object]]) -> float:
    """Return how many round trips it takes."""
    for _ in range(WARM_UP):
        await work()
    before = proxy.round_trips
    for _ in range(TIMES):
        await work()
    return (proxy.round_trips - before) / TIMES


def committing(sessions: Sessions, *tenants: int) -> Callable[[], Awaitable[None]]:
    """Return a function that commits changes of tenants' labels and teams."""

    async def commit() -> None:
        async with sessions.begin() as session:
            for model in (Label, Team):
                await session.execute(update(model).where(model.account_id.in_(tenants)).values(id=model.id))

    return commit


async def count_added(proxy: Proxy, engine: AsyncEngine, *tenants: int) -> float:
    """Return how many round trips are added to such a commit when its sessions are attached."""
    bare = await count(proxy, committing(async_sessionmaker(engine), *tenants))
    sessions = async_sessionmaker(engine)
    attachment = attach(revalidator_on(DurableStore(engine, TABLES)), sessions, ATTACHED)
    attached = await count(proxy, committing(sessions, *tenants))
    attachment.detach()
    return attached - bare


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("tenants", [(1,), (1, 2, 3)])
async def test_a_commit(shared_database: GetDatabase, driver: str, tenants: tuple[int, ...]) -> None:
    """Whatever it touches, a commit is one statement longer, and its fold is one round trip."""
    proxy = Proxy()
    async with proxied(shared_database(driver), driver, proxy) as engine:
        assert await count_added(proxy, engine, *tenants) == 2


@pytest.mark.parametrize("driver", DRIVERS)
async def test_without_the_function(shared_database: GetDatabase, driver: str) -> None:
    """Taken step by step, a fold is six statements or so in a transaction."""
    proxy = Proxy()
    database = shared_database(driver, "by steps")
    async with proxied(database, driver, proxy) as engine:
        with database.sync_engine(driver) as beside:
            by_steps(beside)
        assert 6 <= await count_added(proxy, engine, 1) <= 9


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_read(shared_database: GetDatabase, driver: str) -> None:
    """A read of the database is one round trip, be something pending or not, and so is a bump's note."""
    proxy = Proxy()
    database = shared_database(driver)
    async with proxied(database, driver, proxy) as engine:
        revalidator = revalidator_on(DurableStore(engine, TABLES))
        assert await count(proxy, lambda: revalidator.tokens(1)) == 1

        with database.sync_engine(driver) as beside:
            row = {"namespace": revalidator.keyspace.namespace, "tenant": "1"}
            for _ in range(3):
                last = await revalidator.tokens(1)
                with beside.begin() as connection:
                    connection.execute(insert(TABLES.pending), [{**row, "model": model} for model in ("label", "team")])
                before = proxy.round_trips
                tokens = await revalidator.tokens(1)
                assert proxy.round_trips == before + 1
                assert {model for model in tokens if tokens[model] > last[model]} == {"label", "team"}
        assert await count(proxy, lambda: revalidator.bump(1, "label")) == 2
