"""What fails beside a commit: the tables, the copies, the database, another fold. The commit itself does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending, empty, revalidator_on
from sqlalchemy import Engine, create_engine, event, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from tests.support.servers import RedisServer, free_port

from cache_revalidate import Keyspace, MemoryStore, Revalidator, StoreError, is_token, new_token
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate_sqlalchemy import DurableStore, attach
from cache_revalidate_sqlalchemy.dirty import Dirty

GetDatabase = Callable[..., Database]


@pytest.fixture
def engine(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine on SQLite."""
    with shared_database("sqlite3").sync_engine("sqlite3") as engine:
        empty(engine)
        yield engine


@pytest.fixture
def postgres(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    with shared_database("psycopg").sync_engine("psycopg") as engine:
        empty(engine)
        yield engine


@contextmanager
def attached(store: DurableStore, engine: Engine, **options: Any) -> Iterator[tuple[Revalidator, Callable[[], None]]]:
    """Attach a store to sessions; give its revalidator, and a function that commits a label."""
    revalidator = revalidator_on(store)
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED, **options)

    def write() -> None:
        with sessions.begin() as session:
            session.add(Label(account_id=1))

    yield revalidator, write
    attachment.detach()


async def token(revalidator: Revalidator) -> str:
    """Return the token of one tenant's labels."""
    return (await revalidator.tokens(1, "label"))["label"]


def held(engine: Engine) -> str:
    """Return what the versions table holds for it."""
    with engine.connect() as connection:
        return str(connection.scalar(select(TABLES.versions.c.token).where(TABLES.versions.c.model == "label")))


async def test_missing_tables(database_of: GetDatabase, caplog: pytest.LogCaptureFixture) -> None:
    """Without the tables a commit fails with an error that says so, and the app says it when it starts."""
    database = database_of("sqlite3")
    with database.sync_engine("sqlite3") as engine:
        TABLES.pending.drop(engine)
        store = DurableStore(engine, TABLES)
        with attached(store, engine) as (revalidator, write):
            with pytest.raises(DBAPIError) as failure:
                write()
            assert "metadata.create_all()" in "".join(failure.value.__notes__)
            with pytest.raises(StoreError, match=r"metadata.create_all\(\) or a migration"):
                await store.check()
            async with revalidator.lifespan():
                assert "metadata.create_all()" in caplog.text
        with engine.connect() as connection:
            assert connection.scalar(select(Label.id)) is None


@pytest.fixture
async def copy(redis_server_own: RedisServer) -> AsyncIterator[RedisStore]:
    """Give copies in a Redis that may be stopped."""
    copy = RedisStore.from_url(redis_server_own.url, timeout=0.3)
    yield copy
    await copy.aclose()


@pytest.mark.parametrize("failure", ["kill", "pause"])
async def test_redis_away(
    engine: Engine, copy: RedisStore, redis_server_own: RedisServer, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With Redis dead or hung, commits return in time, own writes are read at once, and tokens are the database's."""
    another = revalidator_on(DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url, timeout=0.3)))
    with attached(DurableStore(engine, TABLES, copy), engine, timeout=1.0) as (revalidator, write):
        before = await token(revalidator)
        getattr(redis_server_own, failure)()
        started = time.monotonic()
        for _ in range(2):
            await asyncio.to_thread(write)
            now = await token(revalidator)
            assert now > before
            assert await token(another) == now == held(engine)
            before = now
        assert time.monotonic() - started < 8 * 0.3 + 2
        assert count_pending(engine) == 0
        assert caplog.text.count("tokens can't be reached") == 2  # once by each process
        redis_server_own.resume() if failure == "pause" else redis_server_own.start()
        deadline = time.monotonic() + 5
        while (copies := await _peek(copy)) != {"label": before}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
            assert await token(revalidator) == before
        assert copies == {"label": before}
    await another.store.aclose()


async def _peek(copy: RedisStore) -> dict[str, str]:
    try:
        return await copy.peek(Keyspace("cache_revalidate", 60), "1", ["label"])
    except StoreError:
        return {}


async def test_no_store_while_the_copies_are_away(engine: Engine) -> None:
    """By option nobody reads from the database while the copies are away, and this process does not either."""
    copy = RedisStore.from_url(f"redis://127.0.0.1:{free_port()}", timeout=0.3)
    store = DurableStore(engine, TABLES, copy, when_copy_is_away="no-store")
    with attached(store, engine) as (revalidator, write):
        with pytest.raises(StoreError, match="can't be reached"):
            await token(revalidator)
        await asyncio.to_thread(write)
        assert count_pending(engine) == 0
        assert await token(revalidator) == held(engine)  # its own write, which is marked
        with pytest.raises(StoreError, match="can't be reached"):
            await revalidator.tokens(2, "label")
    await copy.aclose()


async def test_a_database_that_is_away(database_of: GetDatabase) -> None:
    """A read of a database that is not there is a StoreError, be it for a folder that is missing."""
    nowhere = create_engine(f"sqlite:///{database_of('sqlite3').name}/missing/desk.sqlite")
    revalidator = revalidator_on(DurableStore(nowhere, TABLES))
    with pytest.raises(StoreError, match="The database of the version tokens failed"):
        await token(revalidator)
    with pytest.raises(StoreError, match="The database of the version tokens failed"):
        revalidator.sync.fold_many({1: ["label"]})
    with pytest.raises(StoreError, match="The database of the version tokens failed"):
        await revalidator.bump(1, "label")


async def test_a_fold_that_waits_for_a_stopped_one(postgres: Engine) -> None:
    """A commit returns after its time limit when another's fold was stopped with its lock; the next read is right."""
    with attached(DurableStore(postgres, TABLES, MemoryStore()), postgres, timeout=0.3) as (revalidator, write):
        before = await token(revalidator)
        with postgres.connect() as stopped:
            stopped.execute(update(TABLES.versions).values(token=TABLES.versions.c.token))
            started = time.monotonic()
            await asyncio.to_thread(write)
            assert 0.25 < time.monotonic() - started < 2
            assert count_pending(postgres) == 1
            read = asyncio.create_task(token(revalidator))
            await asyncio.sleep(0)
            stopped.rollback()
        assert await read > before
        assert count_pending(postgres) == 0


async def test_an_old_token_is_made_new(engine: Engine) -> None:
    """A token that is older than the revalidator's expiry is bumped when it is looked up, once."""
    revalidator = revalidator_on(DurableStore(engine, TABLES), expiry=3600)
    first = await token(revalidator)
    assert await token(revalidator) == first
    old = f"{int(first[:16]) - 3601 * 1_000_000}{first[16:]}"
    with engine.begin() as connection:
        connection.execute(update(TABLES.versions).values(token=old))
    second = await token(revalidator)
    assert second > first > old
    assert await token(revalidator) == second


@pytest.mark.parametrize("wrong", ["", "1795512680", "9" * 20, "not a token"])
async def test_a_malformed_token_heals(engine: Engine, wrong: str) -> None:
    """What is no token in the versions table is replaced when it is looked up, and when it is folded."""
    revalidator = revalidator_on(DurableStore(engine, TABLES, MemoryStore()))
    await token(revalidator)
    for folds in (False, True):
        with engine.begin() as connection:
            connection.execute(update(TABLES.versions).values(token=wrong))
        fresh = revalidator_on(DurableStore(engine, TABLES, MemoryStore()))
        if folds:
            assert is_token((await fresh.fold_many({1: ["label"]}))["1"]["label"])
        assert is_token(await token(fresh))
        assert held(engine) == await token(fresh)


async def test_a_late_raise_is_dropped(engine: Engine) -> None:
    """What was read of the database more than five seconds ago is not what the copies are raised to."""
    clock = [0.0]
    copy = MemoryStore()
    store = DurableStore(engine, TABLES, copy)
    revalidator = revalidator_on(store)
    store._copies._dirty["cache_revalidate"] = Dirty(70.0, monotonic=lambda: clock[0])
    keyspace = Keyspace("cache_revalidate", 60)
    run = store.engines.run

    async def slow(work: Any) -> Any:
        answer = await run(work)
        clock[0] += 5.1
        return answer

    store.engines.run = slow  # type: ignore[method-assign]
    first = await token(revalidator)
    assert await copy.peek(keyspace, "1", ["label"]) == {}
    await revalidator.bump(1, "label")
    assert await copy.peek(keyspace, "1", ["label"]) == {}
    del store.engines.run
    second = await token(revalidator)
    assert second > first
    assert await copy.peek(keyspace, "1", ["label"]) == {"label": second}


async def test_in_doubt_drops_the_copies(engine: Engine) -> None:
    """What may be committed a little later is not to be answered by a copy of before."""
    copy = MemoryStore()
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    keyspace = Keyspace("cache_revalidate", 60)
    for in_doubt in (False, True):
        await token(revalidator)
        await revalidator.fold_many({1: ["label"]}, in_doubt=in_doubt)
        assert bool(await copy.peek(keyspace, "1", ["label"])) is not in_doubt
        await token(revalidator)
        await asyncio.to_thread(revalidator.sync.fold_many, {1: ["label"]}, in_doubt=in_doubt)
        assert bool(await copy.peek(keyspace, "1", ["label"])) is not in_doubt


async def test_in_doubt_drops_the_copies_when_the_database_is_away_too(engine: Engine) -> None:
    """What broke a COMMIT may keep its fold from the database as well: then the copies are dropped all the same."""
    copy = MemoryStore()
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    keyspace = Keyspace("cache_revalidate", 60)

    async def fold_sync() -> None:
        await asyncio.to_thread(revalidator.sync.fold_many, {1: ["label"]}, in_doubt=True)

    for fold in (partial(revalidator.fold_many, {1: ["label"]}, in_doubt=True), fold_sync):
        await copy.raise_tokens(keyspace, {"1": {"label": new_token()}})

        def refuse(*_: object) -> None:
            raise ConnectionError("no route")

        event.listen(engine, "before_cursor_execute", refuse)
        with pytest.raises(StoreError, match="no route"):
            await fold()
        event.remove(engine, "before_cursor_execute", refuse)
        assert await copy.peek(keyspace, "1", ["label"]) == {}


async def test_marks_end_when_no_copy_of_their_time_is_left() -> None:
    """A mark whose fold never came ends by itself, and one that is settled ends at once, unless it was set anew."""
    clock = [0.0]
    dirty = Dirty(70.0, monotonic=lambda: clock[0])
    dirty.mark({"1": ["label"], "*": ["team"]})
    assert dirty.among("1", ["label"])
    assert dirty.among("2", ["team"])
    assert not dirty.among("2", ["label"])
    look = dirty.look({"1": ["label"]})
    dirty.mark({"1": ["label"]})
    look.settle()
    assert dirty.among("1", ["label"])
    dirty.look({"1": ["label"]}).settle()
    assert not dirty.among("1", ["label"])
    clock[0] = 71.0
    assert not dirty.among("2", ["team"])
