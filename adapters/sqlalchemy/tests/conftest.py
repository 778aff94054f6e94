"""Sessions of the desk, attached, on real databases."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from adapters.sqlalchemy.tests.desk import ATTACHED, RecordingStore, async_engine, new_revalidator, sync_engine
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate_sqlalchemy import attach


@pytest.fixture
def store() -> RecordingStore:
    """Give the store that commits bump tokens in."""
    return RecordingStore()


@pytest.fixture
def bumped(store: RecordingStore) -> Callable[[], set[str]]:
    """Give the question that most tests ask: what was bumped since it was last asked, as in {"label 1"}."""
    return store.bumped


def _url(request: pytest.FixtureRequest, folder: Path) -> str:
    driver = request.param
    if driver in {"psycopg", "asyncpg"}:
        return str(request.getfixturevalue("postgres_database").url(driver))
    return f"sqlite{'+aiosqlite' if driver == 'aiosqlite' else ''}:///{folder / 'desk.sqlite'}"


@pytest.fixture(params=["sqlite3", "psycopg"])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Give an engine of each synchronous driver."""
    with sync_engine(_url(request, tmp_path)) as engine:
        yield engine


@pytest.fixture
def any_sessions(any_engine: Engine, store: RecordingStore) -> Iterator[sessionmaker[Session]]:
    """Give attached sessions of each synchronous driver."""
    sessions = sessionmaker(any_engine)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    yield sessions
    attachment.detach()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give an engine on a SQLite file."""
    with sync_engine(f"sqlite:///{tmp_path / 'desk.sqlite'}") as engine:
        yield engine


@pytest.fixture
def sessions(engine: Engine, store: RecordingStore) -> Iterator[sessionmaker[Session]]:
    """Give attached sessions on a SQLite file."""
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    yield sessions
    attachment.detach()


@pytest_asyncio.fixture(params=["aiosqlite", "asyncpg"])
async def any_async_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """Give an engine of each async driver."""
    engine = await async_engine(_url(request, tmp_path))
    yield engine
    await engine.dispose()


@pytest.fixture
def any_async_sessions(
    any_async_engine: AsyncEngine, store: RecordingStore
) -> Iterator[async_sessionmaker[AsyncSession]]:
    """Give attached sessions of each async driver."""
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    yield sessions
    attachment.detach()


@pytest.fixture
def add(sessions: sessionmaker[Session], store: RecordingStore) -> Callable[..., Any]:
    """Give a function that stores an object unnoticed and returns its id."""

    def add(obj: Any) -> int:
        with sessions(expire_on_commit=False) as session:
            session.add(obj)
            session.commit()
        store.bumped()
        return int(obj.id)

    return add
