"""What is answered from what this process has at hand, and when it is read past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label
from adapters.sqlalchemy.tests.durable.databases import Database, empty, revalidator_on
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import CopyStore, Keyspace, MemoryStore, Revalidator, new_token
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate_sqlalchemy import DurableStore, attach

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from tests.support.servers import RedisServer

GetDatabase = Callable[..., Database]
COPIES = Keyspace("cache_revalidate", 60)
SECONDS = 5.0


@pytest.fixture
def engine(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    with shared_database("psycopg").sync_engine("psycopg") as engine:
        empty(engine)
        yield engine


@pytest.fixture(params=["memory", "redis"])
async def copy(request: pytest.FixtureRequest, redis_server_own: RedisServer) -> AsyncIterator[CopyStore]:
    """Give copies of each kind."""
    copy = MemoryStore() if request.param == "memory" else RedisStore.from_url(redis_server_own.url)
    yield copy
    await copy.aclose()


def held(revalidator: Revalidator, tenant: str = "1", *models: str) -> dict[str, str] | None:
    """Return what is at hand of a tenant's labels, or other models."""
    return revalidator.store.held(revalidator.keyspace, tenant, models or ["label"])


async def until_held(revalidator: Revalidator, token: str, tenant: str = "1") -> None:
    """Wait until a token of a tenant's labels is at hand, and nothing is to be folded."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while held(revalidator, tenant) != {"label": token}:
        assert asyncio.get_running_loop().time() < deadline
        await revalidator.tokens(tenant, "label")
        await asyncio.sleep(0.01)


async def test_what_was_read_is_at_hand(engine: Engine, copy: CopyStore) -> None:
    """What was read is answered without waiting, until its copy is raised; what was never read is not at hand."""
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    async with revalidator.lifespan():
        assert held(revalidator) is None
        token = (await revalidator.tokens(1, "label"))["label"]
        await until_held(revalidator, token)
        assert held(revalidator, "1", "label", "team") is None
        assert held(revalidator, "2") is None
        bumped = (await revalidator.bump(1, "label"))["label"]
        assert bumped > token
        await until_held(revalidator, bumped)


async def test_nothing_is_at_hand_without_copies(engine: Engine) -> None:
    """A store that has no copies asks the database each time."""
    revalidator = revalidator_on(DurableStore(engine, TABLES))
    await revalidator.tokens(1, "label")
    assert held(revalidator) is None


@pytest.mark.parametrize("every_tenant", [False, True])
async def test_what_is_not_folded_is_not_at_hand(engine: Engine, copy: CopyStore, every_tenant: bool) -> None:
    """From its commit on until its fold is through, a process does not take its own word for what it held before."""
    store = DurableStore(engine, TABLES, copy)
    revalidator = revalidator_on(store)
    async with revalidator.lifespan():
        token = (await revalidator.tokens(1, "label"))["label"]
        await until_held(revalidator, token)
        await until_held(revalidator, (await revalidator.tokens(2, "label"))["label"], "2")
        changes = {"*" if every_tenant else "1": {"label"}}
        with engine.begin() as connection:
            store.note(revalidator.keyspace, connection, changes)
        store.mark(revalidator.keyspace, changes)
        assert held(revalidator) is None
        assert (held(revalidator, "2") is None) == every_tenant
        await revalidator.fold_many(changes)
        now = (await revalidator.tokens(1, "label"))["label"]
        assert now > token
        await until_held(revalidator, now)


async def test_another_process_hears_of_a_commit(engine: Engine, redis_server_own: RedisServer) -> None:
    """What one process commits is at hand in another, which has read it, a moment later."""
    writer, reader = (
        revalidator_on(DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url))) for _ in range(2)
    )
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attachment = attach(writer, sessions, ATTACHED)
    async with writer.lifespan(), reader.lifespan():
        await until_held(reader, (await reader.tokens(1, "label"))["label"])
        before = held(reader)

        def write() -> None:
            with sessions.begin() as session:
                session.add(Label(account_id=1))

        await asyncio.to_thread(write)
        now = await writer.tokens(1, "label")
        deadline = asyncio.get_running_loop().time() + SECONDS
        while (at_hand := held(reader)) != now:
            assert at_hand in (None, before)
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.005)
    attachment.detach()


async def test_a_copy_is_read_past(engine: Engine, copy: CopyStore) -> None:
    """Whoever shows a larger token than the copy's is answered from the database, which raises the copy, too."""
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    async with revalidator.lifespan():
        old = await revalidator.tokens(1, "label", "team")
        elsewhere = revalidator_on(DurableStore(engine, TABLES))
        new = await elsewhere.bump(1, "label")
        assert await revalidator.tokens(1, "label", "team") == old
        assert await revalidator.tokens(1, "label", "team", shown={"label": old["label"]}) == old
        assert await revalidator.tokens(1, "label", "team", shown={"inbox": new["label"]}) == old
        assert await revalidator.tokens(1, "label", "team", shown=new) == {**old, **new}
        assert await copy.peek(COPIES, "1", ["label"]) == new
        assert await revalidator.tokens(1, "label", "team") == {**old, **new}


async def test_what_is_found_past_the_copies_is_final(engine: Engine, copy: CopyStore) -> None:
    """Whoever shows a token that the database does not know, after a restored backup say, is told the database's."""
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    tokens = await revalidator.tokens(1, "label")
    assert await revalidator.tokens(1, "label", shown={"label": new_token(tokens["label"])}) == tokens
