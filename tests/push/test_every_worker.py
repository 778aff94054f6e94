"""However a token is bumped, every client of every worker ends with the store's tokens."""

import asyncio
import random
from functools import partial

import httpx
import psycopg
import pytest

from tests.push.desks import Crowd, assert_no_traceback, bump, desk, truth_of
from tests.push.waiting import until
from tests.support.fixtures import PostgresDatabase
from tests.support.servers import AppServerProgram, RedisServer

TENANTS = ["1", "2", "3"]
MODELS = ["inbox", "label", "team"]


@pytest.mark.parametrize(("server", "workers"), [("uvicorn", 3), ("granian", 2)])
async def test_bumps_through_any_worker_reach_all(
    server: AppServerProgram, workers: int, redis_server_own: RedisServer
) -> None:
    """After many bumps through all workers and both doors at once, all clients have the store's tokens."""
    chance = random.Random(5)
    with desk(server=server, workers=workers, store=redis_server_own.url) as app:
        async with (
            truth_of(redis_server_own) as truth,
            Crowd.of(app.port, TENANTS, streams=20, sockets=20, workers=workers) as crowd,
            httpx.AsyncClient(base_url=app.base_url, timeout=30) as client,
        ):
            for _ in range(20):
                await asyncio.gather(
                    *(
                        bump(client, tenant, chance.choice(MODELS), door=chance.choice(["bump", "bump-sync"]))
                        for tenant in TENANTS
                    )
                )
            for tenant in TENANTS:
                await truth.settled(tenant, partial(crowd.maps, tenant))
            assert not crowd.has_lost()
        assert_no_traceback(app)


async def test_bumps_from_elsewhere_reach_all(redis_server_own: RedisServer) -> None:
    """What another process bumps, by either door, reaches the clients of all workers, soon and with no request."""
    with desk(workers=2, store=redis_server_own.url) as app:
        async with (
            truth_of(redis_server_own) as truth,
            Crowd.of(app.port, TENANTS, streams=10, sockets=10, workers=2) as crowd,
        ):
            await truth.revalidator.bump("1", "label")
            assert await truth.settled("1", lambda: crowd.maps("1")) < 1
            await asyncio.to_thread(truth.revalidator.sync.bump, "2", "label", "team")
            assert await truth.settled("2", lambda: crowd.maps("2")) < 1
            assert {stream.view.events for stream in crowd.streams["3"]} == {1}


async def test_raw_sql_reaches_all(redis_server_own: RedisServer, postgres_database: PostgresDatabase) -> None:
    """What another program writes by SQL, seen by triggers alone, reaches the clients of all workers."""
    create_schema(postgres_database.url("psycopg"))
    settings = {"DATABASE_URL": postgres_database.url()}
    with desk(workers=2, store=redis_server_own.url, settings=settings) as app:
        async with Crowd.of(app.port, TENANTS, streams=10, sockets=10, workers=2) as crowd:
            before = [dict(held) for held in crowd.maps("1")]
            with psycopg.connect(postgres_database.url("psycopg").replace("+psycopg", "")) as connection:
                connection.execute("UPDATE labels SET title = title || '!' WHERE account_id = 1")
            async with truth_of(redis_server_own) as copies, httpx.AsyncClient(base_url=app.base_url) as client:
                old_label = before[0]["label"]
                await until(lambda: all(held["label"] != old_label for held in crowd.maps("1")), "it came to all")
                await bump(client, 1, "team")
                await copies.settled("1", lambda: crowd.maps("1"))
            for old, new in zip(before, crowd.maps("1"), strict=True):
                assert {model for model in MODELS if old[model] != new[model]} == {"label", "team"}
            assert {stream.view.events for stream in crowd.streams["2"]} == {1}


def create_schema(url: str) -> None:
    """Make the tables of the example desk, with triggers and a label."""
    from examples.desk.models import TOKEN_TABLES, Account, Base, Label
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    from cache_revalidate import Revalidator
    from cache_revalidate_sqlalchemy import DurableStore, Triggers

    engine = create_engine(url)
    Base.metadata.create_all(engine)
    revalidator = Revalidator(MODELS, DurableStore(engine, TOKEN_TABLES))
    with engine.begin() as connection:
        Triggers(revalidator, TOKEN_TABLES, {Label: "account_id"}).create(connection)
    with Session(engine) as session, session.begin():
        session.add(Account(id=1, name="one"))
        session.flush()
        session.add(Label(account_id=1, title="old", color="#000001"))
    engine.dispose()
