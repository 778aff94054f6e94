"""The door of the adapter: attaches a revalidator to the sessions of an app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

from sqlalchemy import Engine, Table
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate_sqlalchemy.connections import Connections
from cache_revalidate_sqlalchemy.listening import Listening
from cache_revalidate_sqlalchemy.push import Pusher
from cache_revalidate_sqlalchemy.rows import Rows
from cache_revalidate_sqlalchemy.rules import Tenant, Touch, compile_rules
from cache_revalidate_sqlalchemy.sessions import Sessions
from cache_revalidate_sqlalchemy.statements import OnUnknownTenant, Statements

Target: TypeAlias = (
    sessionmaker[Any]
    | async_sessionmaker[Any]
    | scoped_session[Any]
    | async_scoped_session[Any]
    | type[Session]
    | type[AsyncSession]
    | Engine
    | AsyncEngine
)

_T = TypeVar("_T")

_attached: WeakSet[type[Session] | Engine] = WeakSet()
# The session classes that were made for an async_sessionmaker or an AsyncSession subclass to be listened to.
_made: WeakSet[type[Session]] = WeakSet()


class Attachment:
    """What `attach` did, to be undone."""

    def __init__(self, listening: Listening, target: type[Session] | Engine) -> None:
        self._listening = listening
        self._target = target

    def detach(self) -> None:
        """Stop listening; what open transactions touched is forgotten. Detaching twice does nothing."""
        self._listening.stop()
        _attached.discard(self._target)


def attach(
    revalidator: Revalidator,
    sessions: Target,
    models: Mapping[type | Table, Tenant | Touch],
    *,
    timeout: float = 1.0,
    on_unknown_tenant: OnUnknownTenant = "error",
) -> Attachment:
    """Have every commit of `sessions` bump what it touched.

    `sessions` is a `sessionmaker`, an `async_sessionmaker`, a `Session` or `AsyncSession` subclass of your own, or an
    engine, of either kind, whose sessions are meant.

    `models` maps classes (and tables that no class is mapped to) to where the tenant of their rows is found: a column
    (`"account_id"`), a path of many-to-one relationships (`"inbox.account_id"`) or a function of the object. The model
    is named after the class, in snake_case; `touch("inbox", "inbox.account_id")` names another, or several.

    `timeout` is how many seconds an `AsyncSession`'s `commit()` waits for the bump, which goes on if that is over.
    `on_unknown_tenant` is a function of (connection, statement) that returns the tenants of a bulk statement that does
    not name them; by default such a statement raises `UnknownTenantError` before it is executed.

    Raises `ConfigurationError` if any of this could not work.
    """
    _check(revalidator, timeout, on_unknown_tenant)
    rules = compile_rules(revalidator, models)
    target = _event_target(sessions)
    listening = Listening()
    pusher = Pusher(revalidator, timeout)
    connections = Connections(listening, pusher.push)
    engine = target if isinstance(target, Engine) else None
    followed = Sessions(listening, connections, pusher, engine)
    Statements(rules, connections, followed, on_unknown_tenant)
    Rows(rules, followed).listen(listening)
    if isinstance(target, Engine):
        connections.watch_engine(target)
    else:
        listening.listen(target, followed.listeners)
        for bound in _engines(sessions):
            connections.watch_engine(bound)
    _attached.add(target)
    return Attachment(listening, target)


def _check(revalidator: object, timeout: object, on_unknown_tenant: object) -> None:
    if not isinstance(revalidator, Revalidator):
        raise ConfigurationError(f"attach(revalidator, sessions, models) was given {revalidator!r} as its revalidator.")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise ConfigurationError(f"timeout {timeout!r} is not a number of seconds above 0.")
    if on_unknown_tenant != "error" and not callable(on_unknown_tenant):
        raise ConfigurationError(
            f"on_unknown_tenant is {on_unknown_tenant!r}: leave it out, or give a function of (connection, statement)."
        )


def _event_target(sessions: object) -> type[Session] | Engine:
    """Return what can be listened to: a class of synchronous sessions that is no one else's, or an engine."""
    if isinstance(sessions, scoped_session | async_scoped_session):
        sessions = sessions.session_factory
    if isinstance(sessions, Engine | AsyncEngine):
        return _unattached(sessions.sync_engine if isinstance(sessions, AsyncEngine) else sessions)
    if isinstance(sessions, sessionmaker):
        return _unattached(sessions.class_)  # a subclass that the sessionmaker made for itself
    if isinstance(sessions, async_sessionmaker):
        own = _own_class(sessions.kw.get("sync_session_class") or sessions.class_.sync_session_class)
        sessions.configure(sync_session_class=own)
        return own
    if sessions in (Session, AsyncSession):
        raise ConfigurationError(
            "The global Session class would follow every session of the process: attach the app's sessionmaker, or "
            "a subclass of its own."
        )
    if isinstance(sessions, type) and issubclass(sessions, AsyncSession):
        sessions.sync_session_class = _own_class(sessions.sync_session_class)
        return sessions.sync_session_class
    if isinstance(sessions, type) and issubclass(sessions, Session):
        for attached in _attached:
            if _is_subclass(attached, sessions):
                _unattached(attached)  # its sessions would be followed twice
        return _unattached(sessions)
    raise ConfigurationError(
        f"{sessions!r} can't be attached: pass a sessionmaker, an async_sessionmaker, a Session or AsyncSession "
        "subclass, or an engine."
    )


def _engines(sessions: object) -> set[Engine]:
    """Return the engines that a sessionmaker is bound to; others are met when a session uses them, at some cost."""
    if isinstance(sessions, scoped_session | async_scoped_session):
        sessions = sessions.session_factory
    if not isinstance(sessions, sessionmaker | async_sessionmaker):
        return set()
    binds = [sessions.kw.get("bind"), *(sessions.kw.get("binds") or {}).values()]
    synchronous = [bind.sync_engine if isinstance(bind, AsyncEngine) else bind for bind in binds]
    return {bind for bind in synchronous if isinstance(bind, Engine)}


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
