"""Calls the function that folds, where the database has it; says once how it is made, where it has not."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from cache_revalidate_sqlalchemy import texts
from cache_revalidate_sqlalchemy.transactions import single_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from cache_revalidate_sqlalchemy.tables import Tables

_AGAIN_AFTER: Final = 60.0
"""Seconds after which a function that was not there is looked for anew."""
_LONGEST: Final = 1e12  # seconds, whose microseconds a bigint holds

_PASSING: Final = {"40P01", "55P03", "57014", "42P01"}
"""A deadlock, a lock that was not had in time, a cancelled statement; and tables that are missing, as is said then."""

_logger = logging.getLogger("cache_revalidate")


class Calling:
    """The function next to one pair of tables; `schemas` is the `schema_translate_map` of their engine."""

    def __init__(self, tables: Tables, schemas: Mapping[str | None, str | None] | None) -> None:
        schema = tables.versions.schema
        self._schema = (schemas or {}).get(schema, schema)
        self._pending = tables.pending.name
        self._again_at = 0.0
        self._is_told = False

    def fold(
        self, connection: Connection, namespace: str, pairs: Sequence[tuple[str, str]], max_age: float
    ) -> dict[tuple[str, str], str] | None:
        """Return the tokens of (tenant, model) pairs, with all counted in that was committed before the call.

        None if that takes more than the function does, or it is not there.
        """
        if connection.dialect.name != "postgresql" or time.monotonic() < self._again_at:
            return None
        query = texts.fold(connection.dialect.identifier_preparer, self._schema, self._pending)
        # In the order in which every fold locks.
        ordered = sorted(pairs, key=lambda pair: pair[::-1])
        asked = {
            "namespace": namespace,
            "tenants": [tenant for tenant, _ in ordered],
            "models": [model for _, model in ordered],
            "max_age": round(min(max_age, _LONGEST) * 1_000_000),
        }
        try:
            with single_statement(connection):
                tokens: list[str] | None = connection.scalar(query, asked)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            if _sqlstate(error) not in _PASSING:
                self._miss(error)
            return None
        return None if tokens is None else dict(zip(ordered, tokens, strict=True))

    def _miss(self, error: DBAPIError) -> None:
        self._again_at = time.monotonic() + _AGAIN_AFTER
        if not self._is_told:
            self._is_told = True
            _logger.warning(
                "Each commit's fold takes six round trips, because the function %s can't be called (%s). If it is "
                "missing, as the tables were made by an older release: create it by a migration, "
                "op.create_cache_function(), or by tables.create_function(connection), where tables is what add_tables "
                "returned.",
                texts.FOLD,
                str(error.orig).partition("\n")[0],
            )


def _sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's code of an error, wherever the driver keeps it."""
    orig = error.orig
    state: str | None = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return state
