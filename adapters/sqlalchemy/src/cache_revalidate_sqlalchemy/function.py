"""The fold as one function in a PostgreSQL database (`fold.sql`), which is one round trip.

Its steps are those of the model checker's fold (tests/model/folds.py), in the same order: look for `'*'` rows, lock,
delete and write in later statements, commit. It is called outside of a transaction, so that it is committed when it
returns, and nothing is raised before. PL/pgSQL takes a new snapshot for each statement of a VOLATILE function at
READ COMMITTED, and at no other level, so it refuses to run at another.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from cache_revalidate_sqlalchemy.texts import FOLD, literal, place

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.sql.compiler import DDLCompiler

_PARAMETERS: Final = "regclass, text, text[], text[], bigint"
_CREATE: Final = files(__package__).joinpath("fold.sql").read_text("utf-8")


class CreateFold(ExecutableDDLElement):
    """Makes the function, or makes it anew: next to the tables, or to the copy of the version table that is made."""

    def __init__(self, versions: Table, pending: Table) -> None:
        self.versions = versions
        self.pending = pending


class DropFold(ExecutableDDLElement):
    """Drops the function, if it is there: next to the tables, or to the copy of the version table that is dropped."""

    def __init__(self, versions: Table) -> None:
        self.versions = versions


@compiles(CreateFold, "postgresql")
def _create(element: CreateFold, compiler: DDLCompiler, **_: Any) -> str:
    versions, pending = _made(element), element.pending
    given = {
        "@versions@": place(compiler.preparer, versions.schema, versions.name),
        "@versions_name@": versions.name,
        "@pending_name@": pending.name,
    }
    statement = _CREATE
    for name, value in given.items():
        statement = statement.replace(name, literal(value))
    return statement


@compiles(DropFold, "postgresql")
def _drop(element: DropFold, compiler: DDLCompiler, **_: Any) -> str:
    return f"DROP FUNCTION IF EXISTS {place(compiler.preparer, _made(element).schema, FOLD)}({_PARAMETERS})"


def _made(element: CreateFold | DropFold) -> Table:
    """Return the version table that is being made or dropped: `Table.to_metadata` copies it with what listens to it."""
    return cast("Table", element.target) if element.target is not None else element.versions
