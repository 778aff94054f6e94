"""All SQL on the durable level's tables, on a synchronous `Connection`; an `AsyncConnection` runs it by `run_sync`.

The order of a fold's statements is the protocol: each has to see what was committed before it, not before the fold.
So a fold runs at READ COMMITTED, and looks for pending rows in a later statement than the one that locks. A lock by
SKIP LOCKED, one statement for both, or ids that were read before the lock would lose bumps or repeat tokens.

On PostgreSQL a function does all of that in one call (`calling`, `fold.sql`). What it can't do is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from sqlalchemy import bindparam, delete, func, insert, null, select, union, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from cache_revalidate import EVERY_TENANT, ConfigurationError, is_token, new_token, token_clock
from cache_revalidate_sqlalchemy import texts
from cache_revalidate_sqlalchemy.transactions import fold_transaction, single_statement

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, CompoundSelect, Connection, Dialect, Insert, Table

    from cache_revalidate_sqlalchemy.calling import Calling
    from cache_revalidate_sqlalchemy.tables import Tables

Schemas: TypeAlias = Mapping[str | None, str | None]
"""A `schema_translate_map`."""

_T = TypeVar("_T")

_SUPPORTED: Final = ("postgresql", "sqlite", "mysql", "mariadb")
_TRIES: Final = 5
_AT_ONCE: Final = 500
"""How many rows one statement names at the most: SQLite's limit for parameters is the lowest."""

_SWEPT_AT_ONCE: Final = 100

# A prepared statement's generic plan compares each row with each of many tenants in turn: twenty times slower.
_MANY: Final = 10
_POSTGRES_SETTINGS_FOR_MANY: Final = select(func.set_config("plan_cache_mode", "force_custom_plan", True))


class _Missing(Exception):  # noqa: N818 - a turn that a fold takes, caught below
    """Version rows that are to be locked are not there yet."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self.pairs = list(pairs)


class _EveryTenantPending(Exception):  # noqa: N818
    """A pending row means every tenant of a model; it has to be folded first."""

    def __init__(self, models: Iterable[str]) -> None:
        super().__init__()
        self.models = sorted(models)


@dataclass(frozen=True, slots=True)
class PendingRows:
    """Some of the pending rows that were visible."""

    ids: list[int]
    changes: dict[str, set[str]]
    are_all: bool


class Ledger:
    """The version rows and pending rows of one namespace.

    `calling` calls the function that folds, where the database has one; without, a fold takes its steps one by one.
    `schemas` is the `schema_translate_map` of the engine.
    """

    def __init__(
        self, tables: Tables, namespace: str, schemas: Schemas | None = None, calling: Calling | None = None
    ) -> None:
        self._versions = tables.versions
        self._pending = tables.pending
        self._namespace = namespace
        self._schemas = schemas
        self._calling = calling

    def note(self, connection: Connection, changes: Mapping[str, Collection[str]]) -> None:
        """Insert a pending row for each pair: in the transaction that touched it, as its last statement."""
        pairs = [(tenant, model) for tenant, models in sorted(changes.items()) for model in sorted(models)]
        if not pairs:
            return
        if connection.dialect.name == "postgresql":
            schema = self._pending.schema
            schema = (self._schemas or {}).get(schema, schema)
            statement = texts.note(connection.dialect.identifier_preparer, schema, self._pending.name)
            tenants, models = ([pair[part] for pair in pairs] for part in (0, 1))
            connection.execute(statement, {"namespace": self._namespace, "tenants": tenants, "models": models})
        else:
            rows = [{"namespace": self._namespace, "model": model, "tenant": tenant} for tenant, model in pairs]
            # The app's connection may have a schema for its tenant, where our tables are not.
            options = {"schema_translate_map": self._schemas}
            connection.execute(insert(self._pending).inline(), rows, execution_options=options)

    def note_alone(self, connection: Connection, changes: Mapping[str, Collection[str]]) -> None:
        """Insert pending rows in a transaction of their own, for changes that were made elsewhere."""
        # On PostgreSQL it is one statement; on others it may be several, at the level that the engine is at.
        with single_statement(connection) if connection.dialect.name == "postgresql" else connection.begin():
            self.note(connection, changes)

    def look_up(self, connection: Connection, tenant: str, models: Sequence[str], max_age: float) -> dict[str, str]:
        """Return the tokens of a tenant's models, with all counted in that was committed before the call.

        In most cases that is one statement, which sees in one snapshot that nothing is pending. Else it folds. A token
        that is older than `max_age`, in seconds, is made new.
        """
        called = self._call(connection, [(tenant, model) for model in models], max_age)
        if called is not None:
            return {model: token for (_, model), token in called.items()}
        with single_statement(connection):
            tokens = self.seen(connection, tenant, models)
        if len(tokens) == len(models) and not any(_is_due(token, max_age) for token in tokens.values()):
            return tokens
        return self.fold(connection, {tenant: models}, max_age)[tenant]

    def seen(self, connection: Connection, tenant: str, models: Sequence[str]) -> dict[str, str]:
        """Return the tokens of those of a tenant's models that have one, and of which nothing pending is seen.

        It is one statement: what it sees is all of one snapshot, that of the transaction on `connection` if it has one.
        """
        asked = {"tenant": tenant, "tenants": [tenant, EVERY_TENANT], "models": models, "namespace": self._namespace}
        rows = connection.execute(_snapshot(self._versions, self._pending), asked).all()
        changed = {model for model, token in rows if token is None}
        return {model: token for model, token in rows if is_token(token) and model not in changed}

    def fold(
        self, connection: Connection, changes: Mapping[str, Collection[str]], max_age: float = float("inf")
    ) -> dict[str, dict[str, str]]:
        """Make the next token of each pair of which pending rows are visible, and return all tokens of `changes`."""
        pairs = sorted((tenant, model) for tenant, models in changes.items() for model in models)
        tokens: dict[str, dict[str, str]] = {tenant: {} for tenant in changes}
        for some in _parts(pairs):
            called = self._call(connection, some, max_age)
            for (tenant, model), token in (called or self._fold_some(connection, some, max_age)).items():
                tokens[tenant][model] = token
        return tokens

    def fold_every_tenant(self, connection: Connection, model: str) -> None:
        """Make the next token of all tenants of a model, if a pending row that means them is visible."""

        def fold() -> None:
            self._lock(connection, [(EVERY_TENANT, model)])
            if self._take_pending(connection, [(EVERY_TENANT, model)]):
                versions = self._versions.c
                of_model = (versions.namespace == self._namespace, versions.model == model)
                # Locked in the order in which folds of several tenants lock, or two of them could wait for each other.
                locked = select(versions.token).where(*of_model).order_by(versions.tenant).with_for_update()
                if connection.dialect.name == "postgresql":  # not here: a million tokens are a hundred megabytes
                    largest = connection.scalar(select(func.max(locked.subquery().c.token)))
                else:
                    largest = max(connection.scalars(locked))
                connection.execute(update(self._versions).where(*of_model).values(token=new_token(largest)))

        self._in_turns(connection, fold)

    def page_of(self, connection: Connection, model: str, after: str = EVERY_TENANT) -> dict[str, dict[str, str]]:
        """Return a model's tokens of the next few hundred tenants, in their order; none when there are no more."""
        versions = self._versions.c
        page = (
            select(versions.tenant, versions.token)
            .where(versions.namespace == self._namespace, versions.model == model, versions.tenant > after)
            .order_by(versions.tenant)
            .limit(_AT_ONCE)
        )
        with single_statement(connection):
            return {tenant: {model: token} for tenant, token in connection.execute(page)}

    def newest_pending(self, connection: Connection) -> int | None:
        """Return the largest id of a pending row, of whatever namespace; None if there are none."""
        with single_statement(connection):
            newest: int | None = connection.scalar(select(func.max(self._pending.c.id)))
        return newest

    def pending_until(self, connection: Connection, newest: int) -> dict[str, set[str]]:
        """Return some of the pairs that have pending rows whose id is `newest` at the most; none if there are none."""
        pending = self._pending.c
        pairs = (
            select(pending.tenant, pending.model)
            .where(pending.namespace == self._namespace, pending.id <= newest)
            .group_by(pending.tenant, pending.model)
            # Several processes come for the same: each takes others first, and finds less when it comes again.
            .order_by(func.random())
            .limit(_SWEPT_AT_ONCE)
        )
        with single_statement(connection):
            rows = connection.execute(pairs).all()
        found: dict[str, set[str]] = {}
        for tenant, model in rows:
            found.setdefault(tenant, set()).add(model)
        return found

    def pending_of(self, connection: Connection, changes: Mapping[str, Collection[str]] | None) -> PendingRows | None:
        """Return pending rows of `changes`, or of any pairs; None if there are none."""
        pending = self._pending.c
        rows = select(pending.id, pending.tenant, pending.model).where(pending.namespace == self._namespace)
        if changes is not None:
            models = {model for models in changes.values() for model in models}
            rows = rows.where(pending.tenant.in_({*changes, EVERY_TENANT}), pending.model.in_(models))
        with single_statement(connection):
            found = connection.execute(rows.limit(_AT_ONCE)).all()
        if not found:
            return None
        pairs: dict[str, set[str]] = {}
        for row in found:
            pairs.setdefault(row.tenant, set()).add(row.model)
        return PendingRows([row.id for row in found], pairs, len(found) < _AT_ONCE)

    def delete_pending(self, connection: Connection, ids: Sequence[int]) -> None:
        """Delete pending rows that are noted elsewhere by now."""
        with fold_transaction(connection):
            connection.execute(delete(self._pending).where(self._pending.c.id.in_(ids)))

    def _call(
        self, connection: Connection, pairs: Sequence[tuple[str, str]], max_age: float
    ) -> dict[tuple[str, str], str] | None:
        return self._calling.fold(connection, self._namespace, pairs, max_age) if self._calling else None

    def _fold_some(
        self, connection: Connection, pairs: Sequence[tuple[str, str]], max_age: float
    ) -> dict[tuple[str, str], str]:
        folded: set[str] = set()

        def fold() -> dict[tuple[str, str], str]:
            if len(pairs) >= _MANY and connection.dialect.name == "postgresql":
                connection.execute(_POSTGRES_SETTINGS_FOR_MANY)
            tokens = self._lock(connection, pairs)
            # What comes after its model was folded was committed after the call; or this would never end.
            every = {(EVERY_TENANT, model) for _, model in pairs if model not in folded}
            touched = self._take_pending(connection, pairs, unless=every)
            due = touched | {pair for pair in pairs if _is_due(tokens[pair], max_age)}
            made = {pair: new_token(tokens[pair]) for pair in sorted(due)}
            self._write(connection, made)
            return tokens | made

        return self._in_turns(connection, fold, folded)

    def _in_turns(self, connection: Connection, fold: Callable[[], _T], folded: set[str] | None = None) -> _T:
        """Run a fold in a transaction of its own; first in another what it finds that it needs.

        The models of which every tenant was folded before it are added to `folded`.
        """
        tries = 0
        while tries < _TRIES:
            tries += 1
            try:
                with fold_transaction(connection):
                    return fold()
            except _Missing as missing:
                with fold_transaction(connection):
                    self._mint(connection, missing.pairs)
            except _EveryTenantPending as pending:
                for model in pending.models:
                    self.fold_every_tenant(connection, model)
                if folded is not None:
                    folded.update(pending.models)
                    tries -= 1
            except DBAPIError as error:
                # Two folds that deadlocked all the same, say: one was rolled back, and did nothing.
                if error.connection_invalidated or tries == _TRIES or connection.dialect.name == "sqlite":
                    raise
        raise RuntimeError(f"A fold came to no end in {_TRIES} turns: are version rows deleted by somebody?")

    def _lock(self, connection: Connection, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Lock version rows, and return their tokens; raise `_Missing` unless all are there."""
        tokens: dict[tuple[str, str], str] = {}
        versions = self._versions.c
        # In the order of models, then of tenants, which is also the primary key's: two folds never wait for each other.
        for tenants, models in _rectangles(pairs):
            rows = (
                versions.namespace == self._namespace,
                versions.model.in_(models),
                versions.tenant.in_(tenants),
            )
            if connection.dialect.name == "sqlite":
                # SQLite locks the whole database, at the first statement that writes.
                connection.execute(update(self._versions).where(*rows).values(token=versions.token))
            locked = (
                select(versions.tenant, versions.model, versions.token)
                .where(*rows)
                .order_by(versions.model, versions.tenant)
                .with_for_update()
            )
            tokens.update(((tenant, model), token) for tenant, model, token in connection.execute(locked))
        if len(tokens) < len(pairs):
            raise _Missing(pair for pair in pairs if pair not in tokens)
        return tokens

    def _take_pending(
        self,
        connection: Connection,
        pairs: Collection[tuple[str, str]],
        *,
        unless: Collection[tuple[str, str]] = (),
    ) -> set[tuple[str, str]]:
        """Delete the pending rows of locked pairs that are visible now, and return the pairs that had some.

        Raises `_EveryTenantPending` if there are some of `unless`.
        """
        pending = self._pending.c
        tenants, models = ({pair[part] for pair in (*pairs, *unless)} for part in (0, 1))
        visible = select(pending.id, pending.tenant, pending.model).where(
            pending.namespace == self._namespace, pending.model.in_(models), pending.tenant.in_(tenants)
        )
        rows = connection.execute(visible).all()
        if every := {row.model for row in rows if (row.tenant, row.model) in unless}:
            raise _EveryTenantPending(every)
        wanted = set(pairs)
        mine = [row for row in rows if (row.tenant, row.model) in wanted]
        # By their ids: a DELETE by pair would wait, in InnoDB, for the rows of transactions that are under way.
        for some in _parts([row.id for row in mine]):
            connection.execute(delete(self._pending).where(pending.id.in_(some)))
        return {(row.tenant, row.model) for row in mine}

    def _write(self, connection: Connection, tokens: Mapping[tuple[str, str], str]) -> None:
        if not tokens:
            return
        versions = self._versions.c
        row = (
            versions.namespace == self._namespace,
            versions.tenant == bindparam("of_tenant"),
            versions.model == bindparam("of_model"),
        )
        connection.execute(
            update(self._versions).where(*row).values(token=bindparam("new_token")),
            [{"of_tenant": tenant, "of_model": model, "new_token": token} for (tenant, model), token in tokens.items()],
        )

    def _mint(self, connection: Connection, pairs: Sequence[tuple[str, str]]) -> None:
        """Insert the version rows that are still missing, each with a token that nobody has seen."""
        rows = [
            {"namespace": self._namespace, "model": model, "tenant": tenant, "token": new_token()}
            for model, tenant in sorted((model, tenant) for tenant, model in pairs)
        ]
        connection.execute(self._insert_missing(connection.dialect), rows)

    def _insert_missing(self, dialect: Dialect) -> Insert:
        if dialect.name == "postgresql":
            return postgresql.insert(self._versions).on_conflict_do_nothing()
        if dialect.name == "sqlite":
            return sqlite.insert(self._versions).on_conflict_do_nothing()
        return insert(self._versions).prefix_with("IGNORE")


def checked_dialect(dialect: Dialect) -> None:
    """Raise `ConfigurationError` if folds are not known to work in a dialect's databases."""
    if dialect.name not in _SUPPORTED:
        raise ConfigurationError(
            f"The durable level works on {', '.join(_SUPPORTED)}, not on {dialect.name}: keep the tokens in a "
            "RedisStore there."
        )


@lru_cache(maxsize=16)
def _snapshot(versions: Table, pending: Table) -> CompoundSelect[Any]:
    """Return the query for a tenant's version rows, and for pending rows as such without a token."""
    namespace: BindParameter[str] = bindparam("namespace")
    models: BindParameter[Any] = bindparam("models", expanding=True)
    return union(
        select(versions.c.model, versions.c.token).where(
            versions.c.namespace == namespace,
            versions.c.tenant == bindparam("tenant"),
            versions.c.model.in_(models),
        ),
        select(pending.c.model, null()).where(
            pending.c.namespace == namespace,
            pending.c.tenant.in_(bindparam("tenants", expanding=True)),
            pending.c.model.in_(models),
        ),
    )


def _is_due(token: str, max_age: float) -> bool:
    return not is_token(token) or token_clock(new_token()) - token_clock(token) > max_age * 1_000_000


def _rectangles(pairs: Collection[tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
    """Part pairs into sets of tenants and models of which each tenant has each model: one statement names them."""
    tenants = sorted({tenant for tenant, _ in pairs})
    models = sorted({model for _, model in pairs})
    if len(pairs) == len(tenants) * len(models):
        yield tenants, models
        return
    wanted = set(pairs)
    for model in models:
        yield [tenant for tenant in tenants if (tenant, model) in wanted], [model]


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
