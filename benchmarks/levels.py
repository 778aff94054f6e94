"""What the levels of consistency cost: a commit, and a read of tokens, on PostgreSQL with fsync and a real Redis.

Run it by `make bench-levels`. One process, one connection at a time, both servers on this machine.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

from sqlalchemy import URL, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tests.support.servers import PostgresServer, RedisServer

from benchmarks.rounds import Contestant, measure, table
from cache_revalidate import RedisStore, Revalidator, Store
from cache_revalidate_sqlalchemy import DurableStore, add_tables, attach

ROUNDS = 15
COMMITS = 40
READS = 200


class Base(DeclarativeBase):
    """One table, and those of the durable level."""


class Label(Base):
    """A row that each commit changes."""

    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    edits: Mapped[int] = mapped_column(default=0)


TABLES = add_tables(Base.metadata)


@asynccontextmanager
async def app(
    url: str | URL, store: Store | None, *, background: bool = False
) -> AsyncIterator[tuple[AsyncEngine, Contestant]]:
    """Give an engine, and a function that commits one change of a label, attached to `store` if there is one."""
    engine = create_async_engine(url)
    sessions = async_sessionmaker(engine)
    if store is not None:
        revalidator = Revalidator(["label"], store)
        attach(revalidator, sessions, {Label: "account_id"}, background=background)

    async def commit() -> None:
        async with sessions.begin() as session:
            await session.execute(update(Label).where(Label.account_id == 1).values(edits=Label.edits + 1))

    yield engine, commit
    await engine.dispose()


def reader(store: Store) -> Contestant:
    """Return a function that reads one tenant's token."""
    revalidator = Revalidator(["label"], store)

    async def read() -> None:
        await revalidator.tokens(1)

    return read


async def compare(url: str, redis_url: str) -> None:
    """Print both tables."""
    async with AsyncExitStack() as stack:

        def redis() -> RedisStore:
            store = RedisStore.from_url(redis_url)
            stack.push_async_callback(store.aclose)
            return store

        bare, commit = await stack.enter_async_context(app(url, None))
        async with bare.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(bare) as session:
            session.add(Label(account_id=1))
            await session.commit()
        level_1, level_2, alone = redis(), DurableStore(bare, TABLES, redis()), DurableStore(bare, TABLES)
        commits = {
            "bare commit": commit,
            "level 1, Redis": (await stack.enter_async_context(app(url, level_1)))[1],
            "level 2, Redis": (await stack.enter_async_context(app(url, level_2)))[1],
            "level 2, no Redis": (await stack.enter_async_context(app(url, alone)))[1],
            "level 2, Redis, in the background": (
                await stack.enter_async_context(app(url, DurableStore(bare, TABLES, redis()), background=True))
            )[1],
        }
        reads = {
            "level 1, Redis": reader(level_1),
            "level 2, copies in Redis": reader(level_2),
            "level 2, no copies": reader(alone),
        }
        print(table("one commit", await measure(commits, rounds=ROUNDS, operations=COMMITS)))
        print()
        print(table("one read of tokens", await measure(reads, rounds=ROUNDS, operations=READS)))


def main() -> None:
    """Start the servers and compare."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(settings={"fsync": "on"}))
        redis = stack.enter_context(RedisServer())
        asyncio.run(compare(postgres.url("asyncpg", postgres.create_database()), redis.url))


if __name__ == "__main__":
    main()
