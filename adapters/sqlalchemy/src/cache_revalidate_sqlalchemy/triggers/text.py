"""The SQL of triggers and of their functions. Nothing here talks to a database."""

# ruff: noqa: S608 - SQL is made of strings here, of which each is quoted

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy.dialects import postgresql

from cache_revalidate import EVERY_TENANT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cache_revalidate_sqlalchemy.triggers.notes import Note, Step, Tracked

Place: TypeAlias = tuple[str, str]
"""A schema, and a name in it."""

SEARCH_PATH: Final = "search_path=pg_catalog, pg_temp"
"""What a function's names are looked for in, whatever its caller has set."""

# Of the named style, as in `ways`.
_preparer: Final = postgresql.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]
_LONGEST: Final = 63  # bytes of a name; PostgreSQL cuts what is longer

_CANONICAL: Final = r"^[A-Za-z0-9._:@~-]{1,128}$"
"""What `canonical_tenant` lets pass: for other tenants nobody can ask, and nothing is noted."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a trigger fires on, after each statement."""

    name: str
    bits: int
    """How pg_trigger shows it (TRIGGER_TYPE_* in PostgreSQL's trigger.h)."""
    old: str | None = None
    """What the function calls the rows as they were."""
    new: str | None = None

    @property
    def referencing(self) -> str:
        """The clause that gives the rows a name."""
        named = [f"{when} TABLE AS {rows}" for when, rows in (("OLD", self.old), ("NEW", self.new)) if rows]
        return f" REFERENCING {' '.join(named)}" if named else ""


EVENTS: Final = (
    Event("insert", 4, new="changed"),
    Event("update", 16, old="old_rows", new="new_rows"),
    Event("delete", 8, old="changed"),
    Event("truncate", 32),
)


def quoted(place: tuple[str, ...]) -> str:
    """Return a name with its schema, or without, quoted."""
    return ".".join(map(_preparer.quote_identifier, place))


def trigger_name(namespace: str, event: Event) -> str:
    """Return the name of a trigger, which is unique on its table."""
    return f"cache_revalidate_{_digest(namespace)}_{event.name}"


def function_prefix(namespace: str) -> str:
    """Return what the names of all functions of a namespace begin with."""
    return f"cache_revalidate_{_digest(namespace)}_"


def function_name(namespace: str, table: Place) -> str:
    """Return the name of the function for a table: one for its three triggers, and those of its partitions."""
    start = f"{function_prefix(namespace)}{_digest('.'.join(table))}_"
    return (start.encode() + table[1].encode())[:_LONGEST].decode(errors="ignore")


def function_body(tracked: Tracked, namespace: str, pending: Place, places: Mapping[Step, Place]) -> str:
    """Return the body of a table's function; `places` tells where the tables of its notes' ways are."""
    models = sorted({model for note in tracked.notes for model in note.models})
    insert = f"INSERT INTO {quoted(pending)} (namespace, model, tenant)"

    def noted(rows: str, event: str) -> str:
        return f"{_noted(tracked, namespace, rows, event, places)};"

    return f"""
#variable_conflict use_column
BEGIN
  IF TG_OP = 'UPDATE' THEN
    {insert}
    WITH written AS (SELECT * FROM old_rows UNION ALL SELECT * FROM new_rows)
    {noted("written", "update")}
  ELSIF TG_OP = 'TRUNCATE' THEN
    {insert}
    SELECT {literal(namespace)}, model, {literal(EVERY_TENANT)} FROM {_values(models)};
  ELSE
    {insert}
    {noted("changed", "other")}
  END IF;
  RETURN NULL;
END
"""


def create_function(function: Place, body: str, tracked: Tracked) -> Iterator[str]:
    """Tell the statements that make a function, for triggers alone, and keep beside it what it was made of."""
    tag = "$body$"
    while tag in body:
        tag = f"{tag[:-1]}_$"
    yield (
        f"CREATE OR REPLACE FUNCTION {quoted(function)}() RETURNS trigger LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {tag}{body}{tag}"
    )
    # Nobody needs this right to write to a table that has the trigger: only to put it on another table.
    yield f"REVOKE ALL ON FUNCTION {quoted(function)}() FROM PUBLIC"
    yield f"COMMENT ON FUNCTION {quoted(function)}() IS {literal(tracked.to_json())}"


def create_trigger(namespace: str, event: Event, table: Place, function: Place) -> str:
    """Return the statement that makes, or makes anew, one trigger of a table or partition."""
    return (
        f"CREATE OR REPLACE TRIGGER {trigger_name(namespace, event)} AFTER {event.name.upper()} ON {quoted(table)}"
        f"{event.referencing} FOR EACH STATEMENT EXECUTE FUNCTION {quoted(function)}()"
    )


def note_all(tracked: Tracked, namespace: str, pending: Place, places: Mapping[Step, Place], rows: Place) -> str:
    """Return the statement that notes all rows of a table, as if each were written."""
    noted = _noted(tracked, namespace, quoted(rows), "other", places)
    return f"INSERT INTO {quoted(pending)} (namespace, model, tenant)\n    {noted}"


def literal(text: str) -> str:
    """Return a string as SQL writes it, whatever `standard_conforming_strings` is."""
    doubled = text.replace("'", "''")
    return f"E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{doubled}'"


def _noted(tracked: Tracked, namespace: str, rows: str, event: str, places: Mapping[Step, Place]) -> str:
    selects = "\n    UNION ".join(_select(note, rows, event, places) for note in tracked.notes)
    return (
        f"SELECT {literal(namespace)}, model, tenant\n"
        f"    FROM (\n    {selects}\n    ) AS noted\n"
        f'    WHERE tenant COLLATE "C" ~ {literal(_CANONICAL)}'
    )


def _select(note: Note, rows: str, event: str, places: Mapping[Step, Place]) -> str:
    source = _moved(note.moved) if note.moved and event == "update" else rows
    if note.via:
        source = _joined(note.via, source, places)
    # The OFFSET keeps what is asked of a tenant from being asked of each row.
    tenants = f"SELECT DISTINCT ({note.tenant})::text AS tenant FROM {source} AS changed OFFSET 0"
    return f"SELECT models.model, found.tenant FROM ({tenants}) AS found, {_values(note.models)}"


def _joined(via: Iterable[Step], source: str, places: Mapping[Step, Place]) -> str:
    joins, last = "", "rows_0"
    for number, step in enumerate(via, start=1):
        on = " AND ".join(
            f"rows_{number}.{_preparer.quote_identifier(there)} = {last}.{_preparer.quote_identifier(here)}"
            for here, there in step.on
        )
        last = f"rows_{number}"
        joins += f" JOIN {quoted(places[step])} AS {last} ON {on}"
    return f"(SELECT {last}.* FROM {source} AS rows_0{joins})"


def _moved(columns: Iterable[str]) -> str:
    # NULL equals nothing, so a row with one counts as moved: a bump too many is safe.
    same = " AND ".join(f"a.{name} = b.{name}" for name in map(_preparer.quote_identifier, columns))
    sides = (("old_rows", "new_rows"), ("new_rows", "old_rows"))
    halves = [f"SELECT a.* FROM {a} AS a WHERE NOT EXISTS (SELECT FROM {b} AS b WHERE {same})" for a, b in sides]
    return f"({' UNION ALL '.join(halves)})"


def _values(models: Iterable[str]) -> str:
    return f"(VALUES {', '.join(f'({literal(model)})' for model in models)}) AS models (model)"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
