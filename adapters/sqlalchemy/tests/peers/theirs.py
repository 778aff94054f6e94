"""advanced-alchemy's cache, set up as its documentation says, as a scenario sees it.

"Caching", "Quick Start": a config with `cache_config` makes the sessions and registers the listeners; repositories find
the cache manager in `session.info`. "Performance Considerations": `auto_expunge=True` where lists are read.
"""

import warnings
from collections.abc import Sequence
from typing import Any, cast

from adapters.sqlalchemy.tests.peers.database import Database, View
from adapters.sqlalchemy.tests.peers.library import Library
from dogpile.cache.proxy import ProxyBackend
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

with warnings.catch_warnings(action="ignore"):  # SQLAlchemy 2.1 deprecates a decorator that it uses when imported
    from advanced_alchemy.cache import CacheConfig, CacheManager
    from advanced_alchemy.config import SQLAlchemyAsyncConfig, SQLAlchemySyncConfig
    from advanced_alchemy.repository import SQLAlchemyAsyncRepository, SQLAlchemySyncRepository


class LeavingBackend(ProxyBackend):
    """A backend of dogpile's that can be away: then it raises, as that for Redis does."""

    def __init__(self) -> None:
        self.is_away = False

    def set(self, key: Any, value: Any) -> None:
        """Set, unless it is away."""
        if self.is_away:
            raise ConnectionError("away")
        self.proxied.set(key, value)


class AdvancedAlchemy(Library):
    """Sessions of its config, writes and reads through its repositories, dogpile's memory backend."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        shared = CacheConfig(
            backend="dogpile.cache.memory", expiration_time=300, arguments={"cache_dict": dict[str, Any]()}
        )
        self._manager = CacheManager(shared)
        self.store = LeavingBackend()
        region: Any = self._manager.region  # dogpile's, which has more methods than its protocol here
        region.wrap(self.store)
        writing = SQLAlchemySyncConfig(engine_instance=database.writing, cache_manager=self._manager)
        self.sessions = cast("sessionmaker[Session]", writing.create_session_maker())
        self._reading, self._elsewhere = (
            SQLAlchemySyncConfig(engine_instance=database.reading, cache_manager=manager)
            for manager in (self._manager, CacheManager(shared))
        )

    def async_sessions(self, engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
        """Return the sessions of an asynchronous config with the same manager."""
        config = SQLAlchemyAsyncConfig(engine_instance=engine, cache_manager=self._manager)
        return cast("async_sessionmaker[AsyncSession]", config.create_session_maker())

    def add(self, session: Session, rows: Sequence[Any]) -> None:
        """Call `add_many`."""
        _repository(session, type(rows[0])).add_many(list(rows))

    def change(self, session: Session, row: Any) -> None:
        """Call `update`."""
        _repository(session, type(row)).update(row)

    def change_many(self, session: Session, rows: Sequence[Any]) -> None:
        """Call `update_many`."""
        _repository(session, type(rows[0])).update_many(list(rows))

    def delete(self, session: Session, row: Any) -> None:
        """Call `delete`."""
        _repository(session, type(row)).delete(row.id)

    def delete_many(self, session: Session, rows: Sequence[Any]) -> None:
        """Call `delete_many`."""
        _repository(session, type(rows[0])).delete_many([row.id for row in rows])

    async def change_async(self, session: AsyncSession, row: Any) -> None:
        """Call the asynchronous `update`."""

        class Repository(SQLAlchemyAsyncRepository[Any]):
            model_type = type(row)

        await Repository(session=session).update(row)

    def read(self, view: View) -> list[Any]:
        """Call `get_many`, which answers from the cache; relationships have to be named in `load`."""
        load = [view.related] if view.related is not None else None
        config = self._elsewhere if view.elsewhere else self._reading
        with config.get_session() as session:
            return view.shown(_repository(session, view.entity, auto_expunge=True).get_many(load=load, **view.where))

    def close(self) -> None:
        """Leave it: the listeners are on these sessions alone."""


def _repository(session: Session, entity: Any, **options: Any) -> Any:
    class Repository(SQLAlchemySyncRepository[Any]):
        model_type = entity

    return Repository(session=session, **options)
