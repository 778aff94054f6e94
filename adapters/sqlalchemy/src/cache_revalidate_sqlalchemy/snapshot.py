"""Binds a handler's session to one snapshot: the answer is marked with the tokens that are seen where its rows are."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args, overload
from weakref import ref

from sqlalchemy import Connection, event
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session

from cache_revalidate import ConfigurationError, Revalidator, SnapshotError
from cache_revalidate_sqlalchemy.durable import DurableStore
from cache_revalidate_sqlalchemy.ledger import checked_dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import SessionTransaction, scoped_session

    SyncSession: TypeAlias = Session | scoped_session[Any]
    AnyAsyncSession: TypeAlias = AsyncSession | async_scoped_session[Any]

Isolation: TypeAlias = Literal["REPEATABLE READ", "READ COMMITTED"]
"""Whether rows are read in the snapshot that the tokens are seen in, or later: then they may be newer, never older."""

_GUARD: Final = "cache_revalidate_guard"


@overload
def bind_snapshot(
    revalidator: Revalidator,
    session: SyncSession,
    tenant: object,
    *models: str,
    isolation: Isolation = ...,
    bind_arguments: Mapping[str, Any] | None = ...,
) -> dict[str, str | None]: ...


@overload
def bind_snapshot(
    revalidator: Revalidator,
    session: AnyAsyncSession,
    tenant: object,
    *models: str,
    isolation: Isolation = ...,
    bind_arguments: Mapping[str, Any] | None = ...,
) -> Coroutine[Any, Any, dict[str, str | None]]: ...


def bind_snapshot(
    revalidator: Revalidator,
    session: SyncSession | AnyAsyncSession,
    tenant: object,
    *models: str,
    isolation: Isolation = "REPEATABLE READ",
    bind_arguments: Mapping[str, Any] | None = None,
) -> dict[str, str | None] | Coroutine[Any, Any, dict[str, str | None]]:
    """Have the answer at hand marked with the tokens of the database that `session` reads from, a replica say.

    To be called before the session's first query; with an asynchronous session, to be awaited. It begins the session's
    transaction, REPEATABLE READ and (in PostgreSQL) READ ONLY, and reads the tokens of a tenant's `models` (default:
    all) in its first statement. With `isolation="READ COMMITTED"` the tokens are read first and the rows later, in a
    transaction that may write. `bind_arguments` say which database a session of several uses, as those of
    `Session.connection` do.

    Returns the tokens by model, which is of use to few: None where the snapshot shows none, or that the model was
    changed since. Then the answer gets no validator and `Cache-Control: no-store`; so it does if the session goes on
    in another transaction or on another connection.

    Raises `SnapshotError` if the session may have read something before, or if the answer is on its way; and
    `ConfigurationError` if the revalidator has no `DurableStore`, or what is passed is no session.
    """
    binding = _Binding(revalidator, tenant, models, isolation, bind_arguments)
    own = _own(session)
    return binding.make(own) if isinstance(own, Session) else own.run_sync(binding.make)


def _own(session: Any) -> Session | AsyncSession:
    """Return the session itself where it is the one of a scope; raise `ConfigurationError` if it is none."""
    if isinstance(session, Session):
        return session
    # Scopes have a registry, and asynchronous sessions are known by what they have: importing them needs greenlet.
    own = session() if callable(getattr(session, "registry", None)) else session
    if isinstance(own, Session):
        return own
    if not isinstance(getattr(own, "sync_session", None), Session):
        raise ConfigurationError(
            f"bind_snapshot was given a {type(session).__name__}: pass the session that the handler reads with."
        )
    return cast("AsyncSession", own)


class _Binding:
    """What is to be bound."""

    def __init__(
        self,
        revalidator: Revalidator,
        tenant: object,
        models: tuple[str, ...],
        isolation: Isolation,
        bind_arguments: Mapping[str, Any] | None,
    ) -> None:
        store = revalidator.store
        if not isinstance(store, DurableStore):
            raise ConfigurationError(
                f"A snapshot shows the tokens of a DurableStore, and this store is a {type(store).__name__}: nothing "
                "in the database says which tokens a replica's rows belong to."
            )
        if isolation not in get_args(Isolation):
            raise ConfigurationError(f"isolation is {isolation!r}: choose one of {', '.join(get_args(Isolation))}.")
        self._revalidator = revalidator
        self._store = store
        self._tenant = revalidator.tenant(tenant)
        self._models = revalidator.known_models(models) or revalidator.models
        self._isolation = isolation
        self._bind_arguments = dict(bind_arguments or {})

    def make(self, session: Session) -> dict[str, str | None]:
        """Begin the session's transaction, and bind the tokens that are seen in it."""
        guard = _Guard.of(session)
        guard.release()
        try:
            connection = self._connection(session)
            tokens = self._store.seen(self._revalidator.keyspace, connection, self._tenant, self._models)
        except BaseException:
            # Whatever the handler does about it, it may read old rows now.
            self._revalidator.bind(self._tenant, dict.fromkeys(self._models))
            raise
        guard.watch(connection, self._revalidator.bind(self._tenant, tokens))
        return tokens

    def _connection(self, session: Session) -> Connection:
        transaction = session.get_transaction()
        # No public call tells whether a transaction has begun in a database yet.
        if transaction is not None and transaction._connections:
            raise SnapshotError(
                "bind_snapshot was called after the session's transaction had begun, when rows may have been read that "
                "are older than the tokens seen now: call it before the session's first query, once, with all models."
            )
        if any(not sa_inspect(obj).expired for obj in session.identity_map.values()):
            raise SnapshotError(
                "bind_snapshot was called on a session that holds objects which it loaded before: queries would return "
                "them as they were then. Call expunge_all() first, or use a session of its own."
            )
        bind = session.get_bind(**self._bind_arguments)
        checked_dialect(bind.dialect)
        is_joined = isinstance(bind, Connection) and bind.in_transaction()
        connection = session.connection(
            bind_arguments={"bind": bind},
            # SQLite has no such levels; and a transaction that somebody else has begun keeps the one it has.
            execution_options={}
            if is_joined or bind.dialect.name == "sqlite"
            else {"isolation_level": self._isolation},
        )
        if bind.dialect.name == "postgresql" and self._isolation == "REPEATABLE READ" and not is_joined:
            # The option `postgresql_readonly` would have psycopg begin the connection's next transaction, be it bound
            # or not, as READ WRITE, which a replica refuses.
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        return connection


class _Guard:
    """Voids a binding when its session begins to work on another connection, or in another transaction.

    A session of several replicas may read rows from one and tokens from another; and behind one address there may be
    several, the next of which is further behind.
    """

    def __init__(self, session: Session) -> None:
        self._connection: ref[Connection] | None = None
        self._void: Callable[[], None] | None = None
        event.listen(session, "after_begin", self._begun)

    @classmethod
    def of(cls, session: Session) -> _Guard:
        """Return the one guard of a session."""
        guard = session.info.get(_GUARD)
        if not isinstance(guard, cls):
            guard = session.info[_GUARD] = cls(session)
        return guard

    def release(self) -> None:
        """Let the session begin another transaction, which is bound as well."""
        self._void = None

    def watch(self, connection: Connection, void: Callable[[], None]) -> None:
        """Call `void` when the session begins to work on a connection other than this one."""
        self._connection = ref(connection)
        self._void = void

    def _begun(self, _: Session, __: SessionTransaction, connection: Connection) -> None:
        if self._void is None or self._connection is None or self._connection() is connection:
            return
        void, self._void = self._void, None
        void()
