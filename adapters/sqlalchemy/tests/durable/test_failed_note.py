"""A commit that can't be noted fails, and gives its connection back as clean as any other failure does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label
from adapters.sqlalchemy.tests.durable.databases import Database, revalidator_on
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate_sqlalchemy import DurableStore, attach

GetDatabase = Callable[..., Database]
ONE = {"pool_size": 1, "max_overflow": 0}


@pytest.mark.parametrize(
    ("driver", "twophase"),
    [("sqlite3", False), ("psycopg", False), ("psycopg", True), ("pymysql", False), ("pymysql", True)],
)
def test_the_connection_is_clean(database_of: GetDatabase, driver: str, twophase: bool) -> None:
    """A session that is closed after its commit failed leaves no transaction open on the pool's connection."""
    with database_of(driver).sync_engine(driver, **ONE) as engine:
        TABLES.pending.drop(engine)
        sessions: sessionmaker[Session] = sessionmaker(engine, twophase=twophase)
        attachment = attach(revalidator_on(DurableStore(engine, TABLES)), sessions, ATTACHED)
        for _ in range(2):
            with sessions() as session:
                session.add(Label(account_id=1))
                with pytest.raises(DBAPIError, match=TABLES.pending.name):
                    session.commit()
        attachment.detach()
        with engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(Label)) == 0


@pytest.mark.parametrize("driver", ["aiosqlite", "psycopg_async", "asyncpg", "aiomysql"])
async def test_an_asynchronous_connection_is_clean(database_of: GetDatabase, driver: str) -> None:
    """So does an asynchronous one."""
    async with database_of(driver).async_engine(driver, **ONE) as engine:
        async with engine.begin() as connection:
            await connection.run_sync(TABLES.pending.drop)
        sessions = async_sessionmaker(engine)
        attachment = attach(revalidator_on(DurableStore(engine, TABLES)), sessions, ATTACHED)
        for _ in range(2):
            async with sessions() as session:
                session.add(Label(account_id=1))
                with pytest.raises(DBAPIError, match=TABLES.pending.name):
                    await session.commit()
        attachment.detach()
        async with engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(Label)) == 0
