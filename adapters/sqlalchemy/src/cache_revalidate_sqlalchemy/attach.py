"""The door of the adapter: attaches a revalidator to the sessions of an app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cache_revalidate import ConfigurationError, Revalidator, UnknownModelError
from cache_revalidate_sqlalchemy.connections import Connections
from cache_revalidate_sqlalchemy.durable import DurableStore
from cache_revalidate_sqlalchemy.listening import Listening
from cache_revalidate_sqlalchemy.push import Pusher
from cache_revalidate_sqlalchemy.rows import Rows
from cache_revalidate_sqlalchemy.rules import Tenant, Touch, compile_rules
from cache_revalidate_sqlalchemy.sessions import Sessions
from cache_revalidate_sqlalchemy.statements import OnUnknownTenant, Statements
from cache_revalidate_sqlalchemy.targets import bound_engines, event_target, mark_attached, mark_detached

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from cache_revalidate import Keyspace
    from cache_revalidate_sqlalchemy.targets import Target


class Attachment:
    """The sessions that were attached: to bump with their commits by hand, and to be let go."""

    def __init__(
        self, revalidator: Revalidator, listening: Listening, sessions: Sessions, target: type[Session] | Engine
    ) -> None:
        self._revalidator = revalidator
        self._listening = listening
        self._sessions = sessions
        self._target = target

    def bump(self, session: Session | AsyncSession, tenant: object, *models: str) -> None:
        """Have `models` of a tenant bumped when the transaction of an attached session commits, and not before.

        For what the adapter doesn't see, raw SQL in that transaction say. With a `DurableStore` it is noted by the
        transaction itself. Nothing is sent yet, and what is rolled back, the savepoint's part too, bumps nothing.

        Raises `UnknownModelError`, `InvalidTenantError`, or `ConfigurationError` if the session is not attached.
        """
        behind = session if isinstance(session, Session) else session.sync_session
        if not isinstance(behind, self._target if isinstance(self._target, type) else Session):
            raise ConfigurationError(f"{session!r} is not one of the attached sessions: its commits are not followed.")
        known = self._revalidator.known_models(models)
        if not known:
            raise UnknownModelError("Name the models to bump, as in attachment.bump(session, 1, 'label').")
        self._sessions.ask(behind, self._revalidator.tenant(tenant), known)

    def detach(self) -> None:
        """Stop listening; what open transactions touched is forgotten. Detaching twice does nothing."""
        self._listening.stop()
        mark_detached(self._target)


def attach(
    revalidator: Revalidator,
    sessions: Target,
    models: Mapping[Any, Tenant | Touch],  # a mapping's keys are invariant: type | Table would take no variable
    *,
    timeout: float = 1.0,
    background: bool = False,
    on_unknown_tenant: OnUnknownTenant = "error",
) -> Attachment:
    """Have every commit of `sessions` bump what it touched.

    `sessions` is a `sessionmaker`, an `async_sessionmaker`, a `Session` or `AsyncSession` subclass of your own, or an
    engine, of either kind, whose sessions are meant.

    `models` maps classes (and tables that no class is mapped to) to where the tenant of their rows is found: a column
    (`"account_id"`), a path of many-to-one relationships (`"inbox.account_id"`) or a function of the object. The model
    is named after the class, in snake_case; `touch("inbox", "inbox.account_id")` names another, or several.

    With a `DurableStore` each transaction notes in the database what it touched, as its last statement.

    `timeout` is how many seconds `commit()` waits for the bump, which goes on if that is over; with `background` it
    does not wait at all. (A synchronous `commit()` waits as long as the store does, unless that is a `DurableStore`.)

    `on_unknown_tenant` is a function of (connection, statement) that returns the tenants of a bulk statement that does
    not name them; by default such a statement raises `UnknownTenantError` before it is executed. With a `DurableStore`
    it may be `"every_tenant"`: then all tenants of the statement's models are bumped.

    Raises `ConfigurationError` if any of this could not work.
    """
    _check(revalidator, timeout, on_unknown_tenant)
    rules = compile_rules(revalidator, models)
    target = event_target(sessions)
    engines = {target} if isinstance(target, Engine) else bound_engines(sessions)
    store = revalidator.store if isinstance(revalidator.store, DurableStore) else None
    if store is not None:
        _check_sync_engine(store, engines)
    listening = Listening()
    pusher = Pusher(revalidator, timeout, background=background)
    connections = Connections(listening, pusher, _Notebook(store, revalidator.keyspace) if store else None)
    engine = target if isinstance(target, Engine) else None
    followed = Sessions(listening, connections, pusher, engine)
    Statements(rules, connections, followed, on_unknown_tenant)
    Rows(rules, followed).listen(listening)
    if not isinstance(target, Engine):
        listening.listen(target, followed.listeners)
    for each in engines:
        connections.watch_engine(each)
    mark_attached(target)
    return Attachment(revalidator, listening, followed, target)


class _Notebook:
    """The pending rows of a revalidator."""

    def __init__(self, store: DurableStore, keyspace: Keyspace) -> None:
        self.can_note = store.can_note
        self.note = partial(store.note, keyspace)


def _check(revalidator: object, timeout: object, on_unknown_tenant: object) -> None:
    if not isinstance(revalidator, Revalidator):
        raise ConfigurationError(f"attach(revalidator, sessions, models) was given {revalidator!r} as its revalidator.")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise ConfigurationError(f"timeout {timeout!r} is not a number of seconds above 0.")
    if on_unknown_tenant not in {"error", "every_tenant"} and not callable(on_unknown_tenant):
        raise ConfigurationError(
            f"on_unknown_tenant is {on_unknown_tenant!r}: leave it out, or give a function of (connection, statement)."
        )
    if on_unknown_tenant == "every_tenant" and not isinstance(revalidator.store, DurableStore):
        raise ConfigurationError(
            f'on_unknown_tenant="every_tenant" needs a DurableStore, which knows all tenants; this store is a '
            f"{type(revalidator.store).__name__}."
        )


def _check_sync_engine(store: DurableStore, engines: Iterable[Engine]) -> None:
    if store.engines.sync is None and not all(engine.dialect.is_async for engine in engines):
        raise ConfigurationError(
            "These sessions are synchronous, and the DurableStore has an asynchronous engine alone: give it another, "
            "DurableStore(..., sync_engine=engine)."
        )
