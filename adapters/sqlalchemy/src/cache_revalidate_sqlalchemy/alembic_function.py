"""The function that folds in Alembic's migrations: two operations, and autogenerate, which writes them.

Alembic makes tables anew of what a migration says, without what `add_tables` has create the function with them. The
operations do nothing on other databases than PostgreSQL; they can be written into an SQL script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import comparators, renderers
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateTableOp, DropTableOp
from alembic.util import DispatchPriority
from sqlalchemy import MetaData, inspect, text

from cache_revalidate_sqlalchemy.function import CreateFold, DropFold
from cache_revalidate_sqlalchemy.tables import VERSIONS, add_tables
from cache_revalidate_sqlalchemy.texts import FOLD

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from sqlalchemy import Connection


class _Operation(MigrateOperation):
    """What both operations are told: the schema of the tables, None for the one that search_path leads to."""

    def __init__(self, schema: str | None = None) -> None:
        self.schema = schema

    def to_diff_tuple(self) -> tuple[str, str]:
        """Return what `alembic check` shows."""
        return (type(self).__name__, FOLD)


@Operations.register_operation("create_cache_function", "create")
class CreateCacheFunction(_Operation):
    """Makes the function that folds, or makes it anew."""

    @classmethod
    def create(cls, operations: Operations, *, schema: str | None = None) -> None:
        """Have folds take one round trip, next to the tables that `add_tables` made in a schema."""
        operations.invoke(cls(schema))

    def reverse(self) -> MigrateOperation:
        """Return what undoes it."""
        return DropCacheFunction(self.schema)


@Operations.register_operation("drop_cache_function", "drop")
class DropCacheFunction(_Operation):
    """Drops the function that folds."""

    @classmethod
    def drop(cls, operations: Operations, *, schema: str | None = None) -> None:
        """Have folds take their steps one by one."""
        operations.invoke(cls(schema))

    def reverse(self) -> MigrateOperation:
        """Return what undoes it."""
        return CreateCacheFunction(self.schema)


@Operations.implementation_for(CreateCacheFunction)
def _create(operations: Operations, operation: CreateCacheFunction) -> None:
    if operations.get_context().dialect.name == "postgresql":
        tables = add_tables(MetaData(), schema=operation.schema)
        operations.execute(CreateFold(tables.versions, tables.pending))


@Operations.implementation_for(DropCacheFunction)
def _drop(operations: Operations, operation: DropCacheFunction) -> None:
    if operations.get_context().dialect.name == "postgresql":
        operations.execute(DropFold(add_tables(MetaData(), schema=operation.schema).versions))


@renderers.dispatch_for(CreateCacheFunction)
@renderers.dispatch_for(DropCacheFunction)
def _render(context: AutogenContext, operation: _Operation) -> str:
    context.imports.add("import cache_revalidate_sqlalchemy.alembic")
    name = "create_cache_function" if isinstance(operation, CreateCacheFunction) else "drop_cache_function"
    return f"op.{name}({f'schema={operation.schema!r}' if operation.schema else ''})"


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST, qualifier="postgresql")
def _compare(context: AutogenContext, upgrade: UpgradeOps, _: Any) -> None:
    """Add what makes the function where the tables are and it is not, and what drops it before they are dropped."""
    connection = context.connection
    if connection is None or context.metadata is None:
        return
    created = {op.schema for op in upgrade.ops if isinstance(op, CreateTableOp) and op.table_name == VERSIONS}
    dropped = {op.schema for op in upgrade.ops if isinstance(op, DropTableOp) and op.table_name == VERSIONS}
    for table in context.sorted_tables:
        is_ours = table.name == VERSIONS and table.info.get("cache_revalidate")
        if is_ours and (table.schema in created or _lacks_function(connection, table.schema)):
            upgrade.ops.append(CreateCacheFunction(table.schema))
    upgrade.ops[:0] = [DropCacheFunction(schema) for schema in dropped]


def _lacks_function(connection: Connection, schema: str | None) -> bool:
    if not inspect(connection).has_table(VERSIONS, schema):
        return False
    place = connection.dialect.identifier_preparer.format_table(add_tables(MetaData(), schema=schema).versions)
    found = connection.scalar(
        text(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc AS proc JOIN pg_catalog.pg_class AS class "
            "ON class.relnamespace = proc.pronamespace WHERE class.oid = to_regclass(:place) AND proc.proname = :name)"
        ),
        {"place": place, "name": FOLD},
    )
    return not found
