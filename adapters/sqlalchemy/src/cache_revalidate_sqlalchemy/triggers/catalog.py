"""What a PostgreSQL database has: tables, their partitions, triggers, functions, and who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from cache_revalidate_sqlalchemy.triggers.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from cache_revalidate_sqlalchemy.triggers.text import Place


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a partition."""

    oid: int
    place: Place
    is_foreign: bool

    @property
    def name(self) -> str:
        """Its name as messages show it."""
        return ".".join(self.place)


@dataclass(frozen=True, slots=True)
class Function:
    """A trigger's function."""

    name: str
    body: str
    is_definer: bool
    settings: tuple[str, ...]
    comment: str | None
    owner: str


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of ours."""

    relation: Relation
    name: str
    function: str
    bits: int
    old: str | None
    new: str | None
    enabled: str
    """`O` and `A` if it fires for ordinary sessions."""


_RELATION: Final = "c.oid::bigint, n.nspname, c.relname, c.relkind = 'f' AS is_foreign"
_FROM: Final = "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"

_LOCATE: Final = text(f"SELECT {_RELATION} FROM {_FROM} WHERE c.oid = to_regclass(:name)")  # noqa: S608

_FAMILY: Final = text(
    f"""
    WITH RECURSIVE family (oid, depth) AS (
        SELECT CAST(:oid AS oid), 0
        UNION SELECT i.inhrelid, depth + 1 FROM pg_catalog.pg_inherits i JOIN family ON i.inhparent = family.oid
    )
    SELECT {_RELATION} FROM {_FROM} JOIN family ON family.oid = c.oid ORDER BY depth, n.nspname, c.relname
    """  # noqa: S608
)

_FUNCTIONS: Final = text(
    """
    SELECT p.proname, p.prosrc, p.prosecdef, coalesce(p.proconfig, '{}'),
        pg_catalog.obj_description(p.oid, 'pg_proc'), pg_catalog.pg_get_userbyid(p.proowner)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = :schema AND starts_with(p.proname, :prefix) ORDER BY p.proname
    """
)

_TRIGGERS: Final = text(
    f"""
    SELECT {_RELATION}, t.tgname, p.proname, t.tgtype, t.tgoldtable, t.tgnewtable, t.tgenabled::text
    FROM {_FROM} JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
    WHERE pn.nspname = :schema AND starts_with(p.proname, :prefix) ORDER BY n.nspname, c.relname, t.tgname
    """  # noqa: S608
)

_WRITERS: Final = text(
    """
    SELECT rolname FROM pg_catalog.pg_roles
    WHERE NOT rolsuper AND NOT starts_with(rolname, 'pg_')
        AND has_table_privilege(rolname, CAST(:oid AS oid), 'INSERT, UPDATE, DELETE')
    ORDER BY rolname
    """
)

_MAY: Final = text(
    """
    SELECT has_schema_privilege(:role, c.relnamespace, 'USAGE') AND has_table_privilege(:role, c.oid, :right)
    FROM pg_catalog.pg_class c WHERE c.oid = CAST(:oid AS oid)
    """
)

_MAY_NUMBER: Final = text("SELECT has_sequence_privilege(:role, pg_get_serial_sequence(:table, 'id'), 'USAGE, UPDATE')")

_IS_HIDDEN_FROM: Final = text(
    """
    SELECT c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
        AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
    FROM pg_catalog.pg_class c, pg_catalog.pg_roles r WHERE c.oid = CAST(:oid AS oid) AND r.rolname = :role
    """
)


def locate(connection: Connection, table: str, schema: str | None) -> Relation | None:
    """Return a table, found in `schema` or else along the search path, or None."""
    translated = (connection.get_execution_options().get("schema_translate_map") or {}).get(schema, schema)
    name = quoted((translated, table)) if translated else quoted((table,))
    row = connection.execute(_LOCATE, {"name": name}).one_or_none()
    return None if row is None else _relation(row)


def family(connection: Connection, relation: Relation) -> list[Relation]:
    """Return a table and all its partitions, whatever their depth; so, too, the tables that inherit from it."""
    return [_relation(row) for row in connection.execute(_FAMILY, {"oid": relation.oid})]


def functions(connection: Connection, schema: str, prefix: str) -> dict[str, Function]:
    """Return the functions of a schema whose names begin with `prefix`."""
    rows = connection.execute(_FUNCTIONS, {"schema": schema, "prefix": prefix})
    return {
        name: Function(name, body, is_definer, tuple(settings), comment, owner)
        for name, body, is_definer, settings, comment, owner in rows
    }


def triggers(connection: Connection, schema: str, prefix: str) -> list[Trigger]:
    """Return the triggers that call one of those functions."""
    rows = connection.execute(_TRIGGERS, {"schema": schema, "prefix": prefix})
    return [Trigger(_relation(row), row[4], row[5], row[6], row[7], row[8], row[9]) for row in rows]


def writers(connection: Connection, relation: Relation) -> list[str]:
    """Return the roles, superusers aside, that may write to a table."""
    return list(connection.scalars(_WRITERS, {"oid": relation.oid}))


def may(connection: Connection, role: str, right: str, relation: Relation) -> bool:
    """Say whether a role has a right on a table; that to INSERT includes the numbers of its rows."""
    allowed = connection.scalar(_MAY, {"role": role, "right": right, "oid": relation.oid})
    if right == "INSERT":
        number = connection.scalar(_MAY_NUMBER, {"role": role, "table": quoted(relation.place)})
        allowed = allowed and number is not False  # NULL where an identity column needs none
    return bool(allowed)


def is_hidden_from(connection: Connection, role: str, relation: Relation) -> bool:
    """Say whether policies of row security keep rows of a table from a role."""
    return bool(connection.scalar(_IS_HIDDEN_FROM, {"role": role, "oid": relation.oid}))


def run(connection: Connection, statements: Iterable[str]) -> None:
    """Execute statements as they are: no colon and no per cent sign in them means a parameter."""
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _relation(row: Sequence[Any]) -> Relation:
    return Relation(row[0], (row[1], row[2]), row[3])
