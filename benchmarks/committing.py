"""Apps that commit to one PostgreSQL with fsync: bare, followed at each level, and with advanced-alchemy's cache."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakSet

import redis.asyncio
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tests.support.servers import HOST, PostgresServer, RedisServer

from benchmarks import cores
from benchmarks.rounds import Contestant, Operation
from cache_revalidate import NullStore, RedisStore, Revalidator, Store
from cache_revalidate_sqlalchemy import DurableStore, add_tables, attach

with warnings.catch_warnings(action="ignore"):  # SQLAlchemy 2.1 deprecates a decorator that it uses when imported
    from advanced_alchemy.cache import CacheConfig
    from advanced_alchemy.config import SQLAlchemyAsyncConfig
    from advanced_alchemy.repository import SQLAlchemyAsyncRepository

WRITERS = 8
"""Concurrent ones, each with a connection and a row of its own."""
OWN = 100
"""Added to a writer's number, it is that of his own tenant and of a label of it."""
_SETTLING = 1.0
_POOL = 2 * WRITERS
"""Connections for each app: a fold takes another than its writer's."""

BARE = "bare commit"
COLLECTING = "listener collecting, nothing sent"
LEVEL_1 = "level 1: Redis, awaited"
LEVEL_1_BACKGROUND = "level 1: Redis, in the background"
BACKGROUND = "durable, fold and push in the background"
AWAITED = "durable, awaited"
DATABASE_ALONE = "durable without Redis, awaited"


class Base(DeclarativeBase):
    """The app's table, and those of the durable level."""


class Label(Base):
    """A row that commits change."""

    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(index=True)
    edits: Mapped[int] = mapped_column(default=0)


TABLES = add_tables(Base.metadata)


class _Repository(SQLAlchemyAsyncRepository[Any]):
    model_type = Label


@dataclass(frozen=True)
class App:
    """Sessions of one contestant, all on the same database."""

    sessions: async_sessionmaker[AsyncSession]
    revalidator: Revalidator | None = None

    async def read(self) -> None:
        """Read the tokens of the hot tenant."""
        assert self.revalidator is not None
        await self.revalidator.tokens(1)

    async def commit(self, label: int = 1, *, tenant: int = 1, also: str | None = None) -> None:
        """Change one label in a transaction of its own, by one UPDATE; `also` is a second statement."""
        async with self.sessions.begin() as session:
            await session.execute(
                update(Label).where(Label.id == label, Label.account_id == tenant).values(edits=Label.edits + 1)
            )
            if also is not None:
                await session.execute(text(also))

    async def update(self) -> None:
        """Load a label, change it, and save it through advanced-alchemy's repository."""
        async with self.sessions() as session:
            label = await session.get_one(Label, 1)
            label.edits += 1
            await _Repository(session=session).update(label)
            await session.commit()


class Apps:
    """The contestants, each with an engine of its own on one PostgreSQL, and one Redis."""

    def __init__(self, url: str, redis: RedisServer, stack: AsyncExitStack) -> None:
        self._url = url
        self._redis = redis
        self._stack = stack
        self._residents: WeakSet[asyncio.Task[object]] = WeakSet()

    async def prepare(self) -> None:
        """Create the tables, with a label for each writer of the hot tenant, and one of a tenant of his own."""
        engine = self._engine()
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(text("CREATE TABLE upserted (tenant bigint PRIMARY KEY, version bigint NOT NULL)"))
        async with AsyncSession(engine) as session:
            for writer in range(1, WRITERS + 1):
                session.add_all([Label(id=writer, account_id=1), Label(id=OWN + writer, account_id=OWN + writer)])
            await session.commit()

    def bare(self) -> App:
        """Return an app that nobody follows."""
        return App(async_sessionmaker(self._engine()))

    async def level_1(self, *, background: bool = False) -> App:
        """Return an app whose tokens are in Redis."""
        return await self._followed(self._engine(), RedisStore.from_url(self._redis.url), background=background)

    async def collecting(self) -> App:
        """Return an app that is followed for nothing: its store sends nothing anywhere."""
        return await self._followed(self._engine(), NullStore())

    async def durable(self, *, background: bool = False, has_copies: bool = True) -> App:
        """Return an app at the durable level."""
        engine = self._engine()
        copies = RedisStore.from_url(self._redis.url) if has_copies else None
        return await self._followed(engine, DurableStore(engine, TABLES, copies), background=background)

    def advanced_alchemy(self) -> App:
        """Return an app of advanced-alchemy's configuration, with its cache in Redis."""
        arguments = {"host": HOST, "port": self._redis.port}
        cache = CacheConfig(backend="dogpile.cache.redis", arguments=arguments)
        config = SQLAlchemyAsyncConfig(engine_instance=self._engine(), cache_config=cache)
        return App(cast("async_sessionmaker[AsyncSession]", config.create_session_maker()))

    def settling(self, contestant: Contestant) -> Contestant:
        """Return a contestant whose sample is followed by a wait for what it left in the background.

        So nobody pays for another. Tasks that do not end are those that stay: a mirror's, a sweeper's.
        """

        async def sample() -> float:
            taken = await contestant()
            left = asyncio.all_tasks() - {cast("asyncio.Task[object]", asyncio.current_task())} - set(self._residents)
            if left:
                _, staying = await asyncio.wait(left, timeout=_SETTLING)
                self._residents.update(staying)
            return taken

        return sample

    def mget(self) -> Operation:
        """Return the operation that asks Redis for one key, by redis-py alone."""
        client = redis.asyncio.Redis.from_url(self._redis.url)
        self._stack.push_async_callback(client.aclose)
        return lambda: client.mget(["bench"])

    async def _followed(self, engine: AsyncEngine, store: Store, *, background: bool = False) -> App:
        # A namespace each, or one app's sweeper would fold what another has noted.
        revalidator = Revalidator(["label"], store, namespace=f"bench-{id(store)}")
        sessions = async_sessionmaker(engine)
        attach(revalidator, sessions, {Label: "account_id"}, background=background)
        await self._stack.enter_async_context(revalidator.lifespan())
        return App(sessions, revalidator)

    def _engine(self) -> AsyncEngine:
        engine = create_async_engine(self._url, pool_size=_POOL, max_overflow=0)
        self._stack.push_async_callback(engine.dispose)
        return engine


@asynccontextmanager
async def running() -> AsyncIterator[Apps]:
    """Start the servers on the other core, and give the apps, which run on this process's own."""
    with ExitStack() as servers, cores.on(cores.OTHERS):
        postgres = servers.enter_context(PostgresServer(settings={"fsync": "on", "max_connections": "300"}))
        redis = servers.enter_context(RedisServer())
        with cores.on(cores.MEASURED):
            async with AsyncExitStack() as stack:
                apps = Apps(postgres.url("asyncpg", postgres.create_database()), redis, stack)
                await apps.prepare()
                yield apps
