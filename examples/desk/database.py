"""The database: an engine that behaves alike on SQLite and PostgreSQL, its tables, and the rows it starts with."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from examples.desk.models import Account, Base, Inbox, InboxMember, Label, Team

# Any constant will do: the workers that start at once have to ask for the same lock.
SETUP_LOCK = 7_368_946


def open_engine(url: URL) -> AsyncEngine:
    """Return an engine for `url`; nothing is connected yet."""
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        _let_sqlalchemy_begin(engine.sync_engine)
    return engine


async def prepare(engine: AsyncEngine) -> None:
    """Create the tables and the first rows, unless another worker has."""
    async with engine.connect() as connection:
        await connection.execution_options(writes=True)
        async with connection.begin():
            await _lock_setup(connection)
            await connection.run_sync(Base.metadata.create_all)
            if not await connection.scalar(select(func.count()).select_from(Account)):
                async with AsyncSession(connection) as session:
                    await _seed(session)


async def _lock_setup(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(SETUP_LOCK)))


async def _seed(session: AsyncSession) -> None:
    session.add_all([Account(id=1, name="Acme Bicycles"), Account(id=2, name="Bluebird Books")])
    await session.flush()
    session.add_all(
        [
            Label(account_id=1, title="urgent", color="#d92d20"),
            Label(account_id=1, title="billing", color="#1570ef"),
            Label(account_id=1, title="feedback", color="#079455"),
            Inbox(
                account_id=1,
                name="Website chat",
                channel_type="Channel::WebWidget",
                members=[InboxMember(user_id=1), InboxMember(user_id=3)],
            ),
            Inbox(account_id=1, name="support@acme.test", channel_type="Channel::Email"),
            Team(account_id=1, name="sales", description="Before the sale"),
            Team(account_id=1, name="workshop", description="After it"),
            Label(account_id=2, title="order", color="#7a5af8"),
            Label(account_id=2, title="return", color="#dc6803"),
            Inbox(
                account_id=2,
                name="hello@bluebird.test",
                channel_type="Channel::Email",
                members=[InboxMember(user_id=2)],
            ),
            Team(account_id=2, name="shop", description="All of us"),
        ]
    )
    await session.flush()


def _let_sqlalchemy_begin(engine: Engine) -> None:
    """Follow SQLAlchemy's recipe for SQLite: transactions begin where SQLAlchemy says, and savepoints roll back.

    A transaction that will write takes SQLite's write lock at once: two that read first and wrote later would wait
    for each other.
    """

    @event.listens_for(engine, "connect")
    def _leave_beginning_to_us(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
