"""How one gets from the row of a table to its tenant by joins, as the mapped classes tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import CHAR, Enum, Integer, String, Table, TypeDecorator, Uuid
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList

from cache_revalidate import ConfigurationError
from cache_revalidate_sqlalchemy.triggers.notes import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column
    from sqlalchemy.orm import Mapper

# Of the named style, or a per cent sign in a name would be doubled for a driver that is told of no parameters.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Hop:
    """A join to another table."""

    table: Table
    on: tuple[tuple[str, str], ...]

    @property
    def step(self) -> Step:
        """What a trigger is told of it."""
        return Step(self.table.name, self.on, self.table.schema)


@dataclass(frozen=True)
class Way:
    """Joins, and what is found at their end."""

    hops: tuple[Hop, ...]
    tenant: str
    """An SQL expression of the columns of `changed`."""
    columns: tuple[str, ...] | None
    """The columns that it is made of; None if nobody can tell."""


def hops_to(mapper: Mapper[Any], table: Table, names: Sequence[str]) -> tuple[tuple[Hop, ...], Column[Any]]:
    """Return the joins that lead from `table`, one of a mapper's, along a path, and the column at its end."""
    name, *rest = names
    if not rest:
        columns = mapper.column_attrs[name].columns
        column: Any = next((column for column in columns if column.table is table), columns[0])
        return inherited_hops(mapper, table, column.table), column
    relationship = mapper.relationships[name]
    hop = join_on(relationship.local_remote_pairs or [])
    here = (relationship.local_remote_pairs or [])[0][0].table
    further, column = hops_to(relationship.mapper, hop.table, rest)
    return (*inherited_hops(mapper, table, here), hop, *further), column


def join_on(pairs: Sequence[tuple[Any, Any]]) -> Hop:
    """Return the join to the table of the columns on the right."""
    return Hop(pairs[0][1].table, tuple((here.name, there.name) for here, there in pairs))


def inherited_hops(mapper: Mapper[Any], start: Table, end: Table) -> tuple[Hop, ...]:
    """Return the joins between two tables of one class: those of joined-table inheritance."""
    if start is end:
        return ()
    ways: dict[Table, tuple[Hop, ...]] = {start: ()}
    queue = [start]
    joins = list(_inheritance(mapper))
    for table in queue:
        for here, hop in joins:
            if here is table and hop.table not in ways:
                ways[hop.table] = (*ways[table], hop)
                queue.append(hop.table)
    if end not in ways:
        raise ConfigurationError(
            f"No joins are known from the table {start.name} of {mapper.class_.__name__} to {end.name}, which holds "
            'the tenant: map the class to tables that equal columns join, or give sql("...") for the table.'
        )
    return ways[end]


def _inheritance(mapper: Mapper[Any]) -> Iterator[tuple[Table, Hop]]:
    for sub in {*mapper.self_and_descendants, *mapper.iterate_to_root()}:
        base = sub.inherits
        if base is None or sub.inherit_condition is None:
            continue
        pairs = [pair if pair[0].table is sub.local_table else pair[::-1] for pair in _equated(sub.inherit_condition)]
        if pairs and all(isinstance(column.table, Table) for pair in pairs for column in pair):
            up = join_on(pairs)
            yield pairs[0][0].table, up
            yield up.table, join_on([pair[::-1] for pair in pairs])


def _equated(condition: Any) -> Iterator[tuple[Any, Any]]:
    clauses = condition.clauses if isinstance(condition, BooleanClauseList) else [condition]
    for clause in clauses:
        if isinstance(clause, BinaryExpression) and clause.operator is operators.eq:
            yield clause.left, clause.right


def tenant_in(column: Column[Any], canonical: str | None) -> str:
    """Return the SQL of the canonical tenant that a column of `changed` holds; raise if SQL alone can't make it."""
    held = f"changed.{_DIALECT.identifier_preparer.quote(column.name)}"
    if canonical is not None:
        return canonical.replace("{tenant}", held)
    kind = column.type.dialect_impl(_DIALECT)
    is_plain = isinstance(kind, Integer | String) and not isinstance(kind, Enum | CHAR)
    if isinstance(kind, TypeDecorator) or not (is_plain or (isinstance(kind, Uuid) and kind.native_uuid)):
        raise ConfigurationError(
            f"{column} is of the type {column.type!r}: what PostgreSQL would write down as the tenant may not be what "
            "the app calls it. An integer, a string and PostgreSQL's UUID are alike on both sides; for another type "
            'give an SQL expression, sql("lower(changed.account_id::text)") say, or canonical="lower({tenant}::text)".'
        )
    return held
