"""Bulk statements that don't say whose rows they touch: every tenant's token of the model is made new."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Inbox, Label
from adapters.sqlalchemy.tests.durable.databases import Database, by_steps, count_pending, empty, revalidator_on
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import CopyStore, Keyspace, MemoryStore, Revalidator
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate_sqlalchemy import DurableStore, attach

if TYPE_CHECKING:
    from tests.support.servers import RedisServer

GetDatabase = Callable[..., Database]
KEYSPACE = Keyspace("cache_revalidate", 60)
MANY = 1203


@pytest.fixture(params=["sqlite3", "psycopg", "pymysql", "psycopg by steps"])
def engine(request: pytest.FixtureRequest, shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine of each database."""
    driver, *way = request.param.split(maxsplit=1)
    with shared_database(driver, *way).sync_engine(driver) as engine:
        if way:
            by_steps(engine)
        empty(engine)
        yield engine


@contextmanager
def attached(engine: Engine, copy: CopyStore | None = None) -> Iterator[tuple[Revalidator, sessionmaker[Session]]]:
    """Give sessions whose bulk statements need not name their tenants."""
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED, on_unknown_tenant="every_tenant", timeout=20)
    yield revalidator, sessions
    attachment.detach()


def rename_all(sessions: sessionmaker[Session]) -> None:
    """Change labels of nobody knows whom: past the session, no statement is asked for the rows that it writes."""
    with sessions.begin() as session:
        session.connection().execute(update(Label).values(title="renamed"))


def tokens(revalidator: Revalidator, *tenants: int) -> list[dict[str, str]]:
    """Return the tokens of tenants' labels and inboxes."""

    async def read() -> list[dict[str, str]]:
        return [await revalidator.tokens(tenant, "label", "inbox") for tenant in tenants]

    return asyncio.run(read())


def test_all_tenants_of_the_model_change(engine: Engine) -> None:
    """Each tenant's token of the model grows, those of other models stay, and what is minted later is new anyway."""
    with attached(engine, MemoryStore()) as (revalidator, sessions):
        other_process = revalidator_on(DurableStore(engine, TABLES))
        before = tokens(revalidator, 1, 2, 3)
        rename_all(sessions)
        assert count_pending(engine) == 0
        after = tokens(other_process, 1, 2, 3)
        assert after == tokens(revalidator, 1, 2, 3)
        for old, new in zip(before, after, strict=True):
            assert new["label"] > old["label"]
            assert new["inbox"] == old["inbox"]
        with sessions.begin() as session:
            session.connection().execute(update(Label).values(title="rolled back"))
            session.rollback()
        assert tokens(other_process, 1, 2, 3, 4)[:3] == after


def test_a_read_folds_for_every_tenant(engine: Engine) -> None:
    """A row that its writer did not fold reaches each tenant at its next read, whoever reads first."""
    revalidator = revalidator_on(DurableStore(engine, TABLES))
    before = tokens(revalidator, 1, 2)
    with engine.begin() as connection:
        connection.execute(insert(TABLES.pending).values(namespace="cache_revalidate", model="label", tenant="*"))
    after = tokens(revalidator, 2, 1)
    assert after[0]["label"] > before[1]["label"]
    assert after[1]["label"] > before[0]["label"]
    assert count_pending(engine) == 0


@pytest.mark.parametrize("takes_the_row", [False, True])
def test_copies_of_many_tenants_are_raised(
    shared_database: GetDatabase, redis_server_own: RedisServer, takes_the_row: bool
) -> None:
    """The writer raises all tenants' copies, page by page, even when another's fold has taken his row."""
    with shared_database("psycopg").sync_engine("psycopg") as engine:
        empty(engine)
        copy = RedisStore.from_url(redis_server_own.url, timeout=10)
        with attached(engine, copy) as (revalidator, sessions):
            token = tokens(revalidator, 1)[0]["label"]
            names = [str(tenant) for tenant in range(2, MANY)]
            with engine.begin() as connection:
                rows = [
                    {"namespace": "cache_revalidate", "model": "label", "tenant": name, "token": token}
                    for name in names
                ]
                connection.execute(insert(TABLES.versions), rows)
            held = {name: {"label": token} for name in [*names, "1"]}
            assert copy.raise_tokens_sync(KEYSPACE, held) == held
            store = revalidator.store
            assert isinstance(store, DurableStore)
            if takes_the_row:
                # Another process folds between the commit and the writer's own fold, and dies before it raises.
                fold = store.fold_sync

                def fold_late(*arguments: object, **options: object) -> dict[str, dict[str, str]]:
                    other = revalidator_on(DurableStore(engine, TABLES))
                    other.sync.fold_many({"*": ["label"]})
                    return fold(*arguments, **options)  # type: ignore[arg-type]

                store.fold_sync = fold_late  # type: ignore[method-assign]
            rename_all(sessions)
            raised = copy.raise_tokens_sync(KEYSPACE, held)
            assert [name for name, of_tenant in raised.items() if of_tenant["label"] <= token] == []
            with engine.connect() as connection:
                versions = connection.execute(
                    select(TABLES.versions.c.tenant, TABLES.versions.c.token).where(TABLES.versions.c.model == "label")
                ).all()
            assert {tenant: {"label": token} for tenant, token in versions if tenant != "*"} == raised
            copy.drop_sync(KEYSPACE, held)
            asyncio.run(copy.aclose())


def test_folds_of_all_and_of_some_never_deadlock(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """While all tenants are bumped, some are written, read and minted: nothing waits in a circle, and nothing fails."""
    stop = time.monotonic() + 1
    minted = iter(range(1000, 100_000))
    lock = threading.Lock()
    with attached(engine, MemoryStore()) as (_revalidator, sessions):

        def rename() -> None:
            rename_all(sessions)

        def write() -> None:
            with sessions.begin() as session:
                session.execute(insert(Label).values(account_id=1, title=""))
                session.execute(insert(Inbox).values(account_id=2, name=""))
                session.execute(insert(Label).values(account_id=3, title=""))

        def mint() -> None:
            with lock:
                tenants = [next(minted) for _ in range(3)]
            tokens(revalidator_on(DurableStore(engine, TABLES)), *tenants[::-1], 3, 1)

        def repeat(work: Callable[[], None]) -> int:
            count = 0
            while time.monotonic() < stop:
                work()
                count += 1
            return count

        with ThreadPoolExecutor(6) as threads:
            works = [rename, rename, write, write, mint, mint] if engine.dialect.name != "sqlite" else [rename, write]
            counts = [running.result(60) for running in [threads.submit(repeat, work) for work in works]]
        assert all(counts)
        assert [each.message for each in caplog.records if "can't be called" not in each.message] == []
        assert count_pending(engine) == 0
