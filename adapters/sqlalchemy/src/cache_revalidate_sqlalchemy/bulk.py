"""Which tenants a bulk INSERT, UPDATE or DELETE touches, read from its WHERE and its VALUES. Pure: it runs no SQL.

Whatever is not plainly a value, is joined by OR, negated, or compares another table's column, leaves the tenants
unknown: a statement that is misread is a client that is stale for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from sqlalchemy import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    Column,
    ColumnElement,
    Delete,
    FromClause,
    Insert,
    Update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import operators

from cache_revalidate import CacheRevalidateError

Dml: TypeAlias = Insert | Update | Delete
Parameters: TypeAlias = Mapping[str, Any]

_DO_NOTHING = (postgresql.dml.OnConflictDoNothing, sqlite.dml.OnConflictDoNothing)
_DO_UPDATE = (postgresql.dml.OnConflictDoUpdate, sqlite.dml.OnConflictDoUpdate)


class UnknownTenantError(CacheRevalidateError):
    """A bulk statement does not say which tenants it touches; raised before it is executed."""


@dataclass(frozen=True, slots=True)
class Held:
    """Where the rows of a table hold their tenant."""

    columns: frozenset[ColumnElement[Any]]
    names: frozenset[str]
    """What the columns are called in VALUES and in parameters."""

    @property
    def has_default(self) -> bool:
        """Whether a row that is written without a tenant may come to have one."""
        return any(
            getattr(column, "default", None) is not None or getattr(column, "server_default", None) is not None
            for column in self.columns
        )

    @classmethod
    def of(cls, columns: Iterable[ColumnElement[Any]], *names: str) -> Held:
        """Return where `columns` hold the tenant, which are also called `names`."""
        held = frozenset(columns)
        called = (str(name) for column in held for name in (column.key, getattr(column, "name", None)) if name)
        return cls(held, frozenset(names).union(called))

    def inside(self, written: FromClause) -> Held:
        """Return the same for a table that is written, maybe under an alias.

        Other tables' columns, those of a base class's among them, say nothing of its rows.
        """
        if all(getattr(column, "table", None) is written for column in self.columns):
            return self
        columns = (written.corresponding_column(cast("Column[Any]", column)) for column in self.columns)
        return Held(frozenset(column for column in columns if column is not None), self.names)


class _Unknown(Exception):  # noqa: N818 - an answer, caught below
    pass


def tenants_of(statement: Dml, parameters: Sequence[Parameters], held: Held) -> set[object] | None:
    """Return the tenants that `statement` touches, or None if it does not say.

    `parameters` are the sets of parameters that it is executed with, none or one or many.
    """
    reader = _Reader(held)
    try:
        found = [value for each in parameters or [{}] for value in reader.read(statement, each)]
    except _Unknown:
        return None
    return {value for value in found if value is not None}


def keeps_tenants(statement: Dml, parameters: Sequence[Parameters], held: Held) -> bool:
    """Say whether each row that `statement` writes, and that was there before, stays with its tenant."""
    reader = _Reader(held)
    if isinstance(statement, Insert):
        return reader.replaces_nothing(statement)
    return isinstance(statement, Delete) or not any(reader.sets_tenant(statement, each) for each in parameters or [{}])


class _Reader:
    def __init__(self, held: Held) -> None:
        self._held = held
        self._hashes = {*map(hash, held.columns)}

    def read(self, statement: Dml, parameters: Parameters) -> Iterator[object]:
        if isinstance(statement, Insert):
            yield from self._inserted(statement, parameters)
            return
        yield from self._where(statement.whereclause, parameters)
        if isinstance(statement, Update):
            yield from self._set(statement, parameters)

    def _inserted(self, statement: Insert, parameters: Parameters) -> Iterator[object]:
        if statement.select is not None or statement._prefixes or not self._conflicts_within_tenants(statement):
            raise _Unknown
        rows = [row for rows in statement._multi_values for row in rows]
        given: dict[Any, Any] = {**(statement._values or {}), **parameters}
        for row in rows or [given]:
            values = list(self._tenants_in(row, parameters)) if isinstance(row, Mapping) else []
            # The ORM leaves a None out, so that the column's default takes its place.
            if not values or (None in values and self._held.has_default):
                raise _Unknown
            yield from values

    def replaces_nothing(self, statement: Insert) -> bool:
        """Say whether rows that conflict, if any, stay with their tenants."""
        if statement._prefixes:
            return False  # OR REPLACE, maybe, which deletes rows of any tenant
        conflict: Any = statement._post_values_clause
        return (
            conflict is None
            or isinstance(conflict, _DO_NOTHING)
            or (isinstance(conflict, _DO_UPDATE) and not any(map(self._is_tenant, dict(conflict.update_values_to_set))))
        )

    def sets_tenant(self, statement: Update, parameters: Parameters) -> bool:
        """Say whether an UPDATE gives its rows a tenant."""
        return any(map(self._is_tenant, self._set_values(statement, parameters)))

    def _conflicts_within_tenants(self, statement: Insert) -> bool:
        """Say whether the rows that conflict, if any, are of the tenants in VALUES and remain so."""
        conflict: Any = statement._post_values_clause
        return self.replaces_nothing(statement) and (
            not isinstance(conflict, _DO_UPDATE) or any(map(self._is_tenant, conflict.inferred_target_elements or ()))
        )

    def _set(self, statement: Update, parameters: Parameters) -> Iterator[object]:
        yield from self._tenants_in(self._set_values(statement, parameters), parameters)

    @staticmethod
    def _set_values(statement: Update, parameters: Parameters) -> dict[Any, Any]:
        # 2.0 keeps ordered_values() apart; 2.1 keeps them in _values, as pairs.
        values: Any = getattr(statement, "_ordered_values", None) or statement._values or {}
        return {**dict(values), **parameters}

    def _tenants_in(self, row: Mapping[Any, Any], parameters: Parameters) -> Iterator[object]:
        return (_value(value, parameters) for key, value in row.items() if self._is_tenant(key))

    def _where(self, clause: ColumnElement[Any] | None, parameters: Parameters) -> Iterable[object]:
        for condition in _conditions(clause):
            if isinstance(condition, BinaryExpression):
                values = self._compared(condition, parameters)
                if values is not None:
                    return values
        raise _Unknown

    def _compared(self, condition: BinaryExpression[Any], parameters: Parameters) -> Iterable[object] | None:
        left, right = condition.left, condition.right
        if not isinstance(left, BindParameter) and not self._is_tenant(left):
            return None
        if condition.operator is operators.eq:
            value, column = (left, right) if isinstance(left, BindParameter) else (right, left)
            if self._is_tenant(column) and isinstance(value, BindParameter):
                return [_value(value, parameters)]
        if condition.operator is operators.in_op and isinstance(right, BindParameter):
            values = _value(right, parameters)
            return list(values) if isinstance(values, Iterable) else None
        return None

    def _is_tenant(self, key: object) -> bool:
        if isinstance(key, str):
            return key in self._held.names
        # A column of an alias of the table is another column, with another hash. To compare the columns themselves
        # would make an expression of SQL of them, which compares their hashes when it is asked for its truth.
        return hash(key) in self._hashes


def _conditions(clause: ColumnElement[Any] | None) -> Iterator[ColumnElement[Any]]:
    """Yield the conditions that must all be true."""
    if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for part in clause.clauses:
            yield from _conditions(part)
    elif clause is not None:
        yield clause


def _value(value: object, parameters: Parameters) -> object:
    if isinstance(value, BindParameter):
        if value.key in parameters:
            return parameters[value.key]
        if value.required:
            raise _Unknown
        return value.effective_value
    if isinstance(value, ColumnElement):
        raise _Unknown
    return value
