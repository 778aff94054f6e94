"""What can be listened to behind the sessions that `attach` is given, and which of it is attached already.

SQLAlchemy's asynchronous classes are no event targets themselves: what they stand before is. They are looked for
only where the app has imported them, because importing them needs greenlet, which a synchronous app has no use for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakSet

from sqlalchemy import Engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from cache_revalidate import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker

    Target: TypeAlias = (
        sessionmaker[Any]
        | async_sessionmaker[Any]
        | scoped_session[Any]
        | async_scoped_session[Any]
        | type[Session | AsyncSession]
        | Engine
        | AsyncEngine
    )

_T = TypeVar("_T")

_attached: WeakSet[type[Session] | Engine] = WeakSet()
# The session classes that were made for an async_sessionmaker or an AsyncSession subclass to be listened to.
_made: WeakSet[type[Session]] = WeakSet()


def event_target(sessions: Any) -> type[Session] | Engine:
    """Return what can be listened to: a class of synchronous sessions that is no one else's, or an engine.

    Raises `ConfigurationError` if there is nothing of the kind, or if it is attached already.
    """
    sessions = _factory(sessions)
    engine = _sync_engine(sessions)
    if isinstance(engine, Engine):
        return _unattached(engine)
    if isinstance(sessions, sessionmaker):
        return _unattached(sessions.class_)  # a subclass that the sessionmaker made for itself
    if _is_async(sessions, "async_sessionmaker"):
        own = _own_class(sessions.kw.get("sync_session_class") or sessions.class_.sync_session_class)
        sessions.configure(sync_session_class=own)
        return own
    if sessions is Session or sessions is getattr(_asyncio(), "AsyncSession", Session):
        raise ConfigurationError(
            "The global Session class would follow every session of the process: attach the app's sessionmaker, or "
            "a subclass of its own."
        )
    if _is_subclass(sessions, getattr(_asyncio(), "AsyncSession", None)):
        own = sessions.sync_session_class = _own_class(sessions.sync_session_class)
        return own
    if isinstance(sessions, type) and issubclass(sessions, Session):
        for attached in _attached:
            if _is_subclass(attached, sessions):
                _unattached(attached)  # its sessions would be followed twice
        return _unattached(sessions)
    raise ConfigurationError(
        f"{sessions!r} can't be attached: pass a sessionmaker, an async_sessionmaker, a Session or AsyncSession "
        "subclass, or an engine."
    )


def bound_engines(sessions: object) -> set[Engine]:
    """Return the engines that a sessionmaker is bound to; others are met when a session uses them, at some cost."""
    factory = _factory(sessions)
    if not isinstance(factory, sessionmaker) and not _is_async(factory, "async_sessionmaker"):
        return set()
    binds = [factory.kw.get("bind"), *(factory.kw.get("binds") or {}).values()]
    return {engine for engine in map(_sync_engine, binds) if isinstance(engine, Engine)}


def mark_attached(target: type[Session] | Engine) -> None:
    """Note that `target` is attached."""
    _attached.add(target)


def mark_detached(target: type[Session] | Engine) -> None:
    """Note that `target` may be attached again."""
    _attached.discard(target)


def _asyncio() -> Any:
    """Return SQLAlchemy's asyncio module, or None where nothing can be of its classes, as nobody has imported it."""
    return sys.modules.get("sqlalchemy.ext.asyncio")


def _is_async(sessions: object, name: str) -> bool:
    module = _asyncio()
    return module is not None and isinstance(sessions, getattr(module, name))


def _factory(sessions: Any) -> Any:
    is_scoped = isinstance(sessions, scoped_session) or _is_async(sessions, "async_scoped_session")
    return sessions.session_factory if is_scoped else sessions


def _sync_engine(bind: Any) -> Any:
    return bind.sync_engine if _is_async(bind, "AsyncEngine") else bind


def _own_class(cls: type[Session]) -> type[Session]:
    """Return a subclass that nobody else's sessions are of."""
    _unattached(cls)
    if cls in _made:
        return cls
    own = type(cls.__name__, (cls,), {})
    _made.add(own)
    return own


def _unattached(target: _T) -> _T:
    """Return `target` unless it, or a class that it is of, is attached."""
    for attached in _attached:
        if attached is target or (isinstance(target, type) and _is_subclass(target, attached)):
            raise ConfigurationError(
                f"{target!r} is attached already: name all classes in one attach(), or detach() the first."
            )
    return target


def _is_subclass(cls: object, other: object) -> bool:
    return isinstance(cls, type) and isinstance(other, type) and issubclass(cls, other)
