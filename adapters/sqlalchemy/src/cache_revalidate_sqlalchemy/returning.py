"""Has a bulk statement itself tell whose rows it writes, by RETURNING, where it does not say and the database can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Delete, Insert, Update
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

from cache_revalidate_sqlalchemy.bulk import keeps_tenants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Dialect

    from cache_revalidate_sqlalchemy.bulk import Dml, Held, Parameters


class CountedResult(IteratorResult[Any]):
    """What the app is given of an execution whose rows were asked for here: how many there were."""

    returns_rows = False

    def __init__(self, rowcount: int) -> None:
        super().__init__(SimpleResultMetaData([]), iter(()))
        self.rowcount = rowcount


def tells_by(
    statement: Dml, parameters: Sequence[Parameters], held: Held, dialect: Dialect
) -> ColumnElement[Any] | None:
    """Return the column whose values, returned by `statement`, are all tenants that it touches; None if there is none.

    There is none where it moves rows to another tenant, as the one that they leave is not returned; where the app has
    it return something of its own; and where the database returns nothing.
    """
    if len(held.columns) != 1 or statement._returning or not _can_return(statement, dialect):
        return None
    (column,) = held.columns
    return column if keeps_tenants(statement, parameters, held) else None


def _can_return(statement: Dml, dialect: Dialect) -> bool:
    match statement:
        case Insert():
            return dialect.insert_returning
        case Update():
            return dialect.update_returning
        case Delete():
            return dialect.delete_returning
