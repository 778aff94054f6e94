"""A hunt for deadlocks: transactions write tables in opposite orders while folds and sweepers work."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TypeAlias

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, MODELS, TABLES
from sqlalchemy import Connection, Engine, MetaData, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.fixtures import PostgresDatabase
from tests.support.servers import PostgresServer

from cache_revalidate import MemoryStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, Triggers, add_tables

Work: TypeAlias = Callable[[Connection, random.Random, int], None]

WRITERS = 6
SECONDS = 4.0


def write(connection: Connection, rng: random.Random, writer: int, rows: str) -> None:
    """Write some tables in any order: rows that move between a few accounts, and dependents of others."""
    statements = [
        f"UPDATE labels SET account_id = :a WHERE {rows}",
        f"UPDATE inboxes SET account_id = :b WHERE {rows}",
        f"UPDATE teams SET name = 'x' || :a WHERE {rows}",
        f"UPDATE conversations SET account_id = :b WHERE {rows}",
        "INSERT INTO inbox_members (inbox_id, user_id) SELECT id, :a FROM inboxes WHERE id % 6 = :writer LIMIT 3",
        f"INSERT INTO labels (account_id, title) SELECT id % 3, 'x' FROM inboxes WHERE {rows}",
    ]
    rng.shuffle(statements)
    for statement in statements:
        parameters = {"a": rng.randrange(3), "b": rng.randrange(3), "writer": writer}
        connection.execute(text(statement), parameters)


@contextmanager
def sweepers(database: PostgresDatabase) -> Iterator[None]:
    """Sweep fast, look up and bump all accounts, in a thread of its own, until the block ends."""
    ended = threading.Event()

    async def sweep() -> None:
        async with AsyncExitStack() as stack:
            revalidators = []
            for _ in range(3):
                engine = create_async_engine(database.url("asyncpg"), pool_size=3)
                stack.push_async_callback(engine.dispose)
                store = DurableStore(engine, add_tables(MetaData()), MemoryStore(), sweep_every=0.01)
                revalidators.append(Revalidator(MODELS, store))
                await stack.enter_async_context(revalidators[-1].lifespan())
            while not ended.is_set():
                revalidator = random.choice(revalidators)
                accounts = random.sample(range(3), 3)
                await revalidator.bump_many({account: random.sample(MODELS, 2) for account in accounts})
                await asyncio.gather(*(revalidator.tokens(account) for account in accounts))

    thread = threading.Thread(target=asyncio.run, args=[sweep()])
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def hunt(engine: Engine, rows: str) -> tuple[int, int]:
    """Have writers work for a while; return how many transactions were committed, and how many deadlocked."""
    counts = {"committed": 0, "deadlocked": 0}
    lock = threading.Lock()

    def work(writer: int) -> None:
        rng = random.Random(writer)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                with engine.begin() as connection:
                    write(connection, rng, writer, rows.format(writer=writer))
            except OperationalError as error:
                assert "deadlock detected" in str(error)  # noqa: PT017
                outcome = "deadlocked"
            else:
                outcome = "committed"
            with lock:
                counts[outcome] += 1

    failures: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    try:
        threads = [threading.Thread(target=work, args=[writer]) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = hook
    assert failures == []
    return counts["committed"], counts["deadlocked"]


@pytest.fixture
def filled(postgres_database: PostgresDatabase) -> Iterator[Engine]:
    """Give an engine on tables with a few rows each, which triggers track, and where a deadlock shows at once."""
    engine = create_engine(postgres_database.url("psycopg"), pool_size=WRITERS + 1)
    with engine.begin() as connection:
        TABLES.pending.metadata.create_all(connection)
        Triggers(Revalidator(MODELS), TABLES, ATTACHED).create(connection)
        for table, column in {"labels": "title", "inboxes": "name", "teams": "name"}.items():
            fill = f"INSERT INTO {table} (account_id, {column}) SELECT g % 3, 'x' FROM generate_series(1, 60) g"
            connection.execute(text(fill))
        connection.execute(text("INSERT INTO conversations (account_id) SELECT g % 3 FROM generate_series(1, 60) g"))
        name = postgres_database.name
        connection.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'"))
    engine.dispose()
    yield engine
    engine.dispose()


def deadlocks(engine: Engine) -> int:
    """Return how many deadlocks the database has counted."""
    with engine.connect() as connection:
        return int(
            connection.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")) or 0
        )


def test_writers_of_different_rows_never_deadlock(filled: Engine, postgres_database: PostgresDatabase) -> None:
    """Transactions that share no row of the app's, but all of its tenants, never wait for each other in a circle."""
    with sweepers(postgres_database):
        committed, deadlocked = hunt(filled, "id <= 60 AND id % 6 = {writer}")
    assert committed > 100
    assert deadlocked == 0
    assert deadlocks(filled) == 0


def test_deadlocks_of_the_app_are_its_own(
    filled: Engine, postgres_database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """Transactions that share rows deadlock by themselves, but never over a row of ours."""
    printed = len(postgres_server.output())
    with sweepers(postgres_database):
        committed, deadlocked = hunt(filled, "id <= 60 AND id % 20 < 3")
    assert committed > 10
    assert deadlocked > 0
    log = postgres_server.output()[printed:]
    assert 'in relation "labels"' in log or 'in relation "inboxes"' in log
    assert 'in relation "cache_revalidate' not in log
