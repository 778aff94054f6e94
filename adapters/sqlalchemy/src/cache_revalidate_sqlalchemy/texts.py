"""The two statements of a commit in PostgreSQL, as text: SQLAlchemy compiles it once, and builds nothing per commit."""

# ruff: noqa: S608 - SQL is made of strings here, of which each is quoted

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sqlalchemy import MetaData, Table, text

if TYPE_CHECKING:
    from sqlalchemy import TextClause
    from sqlalchemy.sql.compiler import IdentifierPreparer

FOLD: Final = "cache_revalidate_fold_1"
"""The name of the function in `fold.sql`."""


@lru_cache(maxsize=64)
def note(preparer: IdentifierPreparer, schema: str | None, pending: str) -> TextClause:
    """Return the statement that inserts a row for each pair of `tenants` and `models`, into a table of a schema.

    None for a schema is whatever search_path leads to.
    """
    table = _in_text(preparer, place(preparer, schema, pending))
    return text(
        f"INSERT INTO {table} (namespace, model, tenant) SELECT :namespace, model, tenant "
        "FROM unnest(CAST(:models AS text[]), CAST(:tenants AS text[])) AS pair (model, tenant)"
    )


@lru_cache(maxsize=64)
def fold(preparer: IdentifierPreparer, schema: str | None, pending: str) -> TextClause:
    """Return the query that calls the function next to the table `pending` of a schema.

    It takes `namespace`, `tenants` and `models`, which are pairs in the order of models, then of tenants, and `max_age`
    in microseconds. It answers the tokens of the pairs, with all counted in that was committed before; or NULL, if
    a row is pending that means every tenant of one of the models, or a version row is deleted meanwhile.
    """
    function = _in_text(preparer, place(preparer, schema, FOLD))
    table = _in_text(preparer, literal(place(preparer, schema, pending)))
    return text(
        f"SELECT {function}(CAST({table} AS regclass), "
        ":namespace, CAST(:tenants AS text[]), CAST(:models AS text[]), :max_age)"
    )


def place(preparer: IdentifierPreparer, schema: str | None, name: str) -> str:
    """Return a name as a table is written, its schema translated if the preparer does that."""
    return preparer.format_table(Table(name, MetaData(), schema=schema))


def literal(name: str) -> str:
    """Return a name as a string of SQL."""
    doubled = name.replace("'", "''")
    return f"'{doubled}'"


def _in_text(preparer: IdentifierPreparer, quoted: str) -> str:
    """Return a quoted name for `text`, to which a colon begins a parameter, and which doubles percent signs itself."""
    if "%%" in preparer.quote_identifier("%"):
        quoted = quoted.replace("%%", "%")
    return quoted.replace(":", r"\:")
