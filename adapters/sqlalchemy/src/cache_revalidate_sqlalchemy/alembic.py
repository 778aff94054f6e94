"""Triggers in Alembic's migrations: two operations, and autogenerate, which writes them; and the function that folds.

In `env.py` import this module, and name the app's triggers in `context.configure(cache_revalidate_triggers=triggers)`.
On other databases than PostgreSQL the operations do nothing, so that one history of migrations serves them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

try:
    from alembic.autogenerate import comparators, renderers
    from alembic.operations import MigrateOperation, Operations
    from alembic.util import DispatchPriority
except ImportError as error:
    raise ImportError(
        "cache_revalidate_sqlalchemy.alembic needs Alembic 1.18 or newer: "
        'pip install "cache-revalidate-sqlalchemy[alembic]"'
    ) from error

from cache_revalidate import ConfigurationError
from cache_revalidate_sqlalchemy.alembic_function import CreateCacheFunction, DropCacheFunction
from cache_revalidate_sqlalchemy.tables import PENDING
from cache_revalidate_sqlalchemy.triggers import Triggers
from cache_revalidate_sqlalchemy.triggers.installer import Installer, MissingTableError
from cache_revalidate_sqlalchemy.triggers.notes import Note, Step, Tracked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps

__all__ = [
    "CreateCacheFunction",
    "CreateCacheTriggers",
    "DropCacheFunction",
    "DropCacheTriggers",
    "Note",
    "Step",
]

OPTION: Final = "cache_revalidate_triggers"


class _Operation(MigrateOperation):
    """What both operations are told."""

    def __init__(self, tracked: Tracked, namespace: str, pending: str, pending_schema: str | None) -> None:
        self.tracked = tracked
        self.namespace = namespace
        self.pending = pending
        self.pending_schema = pending_schema

    def installer(self, operations: Operations) -> Installer | None:
        """Return what carries it out; None on other databases."""
        if operations.get_context().as_sql:
            raise ConfigurationError(
                "Triggers can't be written into an SQL script, as the database is asked for its partitions: run this "
                "migration with a connection."
            )
        connection = operations.get_bind()
        if connection.dialect.name != "postgresql":
            return None
        return Installer(connection, self.namespace, self.pending, self.pending_schema)

    def to_diff_tuple(self) -> tuple[str, str]:
        """Return what `alembic check` shows."""
        return (type(self).__name__, self.tracked.name)

    def options(self) -> str:
        """Return the arguments after the first as Python writes them, those by default left out."""
        given = {"namespace": self.namespace}
        if self.tracked.schema:
            given["schema"] = self.tracked.schema
        if self.pending != PENDING:
            given["pending"] = self.pending
        if self.pending_schema:
            given["pending_schema"] = self.pending_schema
        return ", ".join(f"{name}={value!r}" for name, value in given.items())


@Operations.register_operation("create_cache_triggers", "create")
class CreateCacheTriggers(_Operation):
    """Makes the triggers of one table and of its partitions, or makes them anew."""

    replaced: Tracked | None = None
    """What the triggers were made of before."""

    @classmethod
    def create(
        cls,
        operations: Operations,
        table: str,
        notes: Sequence[Note],
        *,
        namespace: str,
        schema: str | None = None,
        pending: str = PENDING,
        pending_schema: str | None = None,
    ) -> None:
        """Have each write to `table` note `notes`, in the table `pending` that `add_tables` made."""
        operations.invoke(cls(Tracked(table, tuple(notes), schema), namespace, pending, pending_schema))

    def reverse(self) -> MigrateOperation:
        """Return what undoes it."""
        if self.replaced is None:
            return DropCacheTriggers(self.tracked, self.namespace, self.pending, self.pending_schema)
        return CreateCacheTriggers(self.replaced, self.namespace, self.pending, self.pending_schema)


@Operations.register_operation("drop_cache_triggers", "drop")
class DropCacheTriggers(_Operation):
    """Drops the triggers of one table and of its partitions."""

    @classmethod
    def drop(
        cls,
        operations: Operations,
        table: str,
        *,
        namespace: str,
        schema: str | None = None,
        pending: str = PENDING,
        pending_schema: str | None = None,
    ) -> None:
        """Have writes to `table` note nothing."""
        operations.invoke(cls(Tracked(table, (), schema), namespace, pending, pending_schema))

    def reverse(self) -> MigrateOperation:
        """Return what undoes it."""
        return CreateCacheTriggers(self.tracked, self.namespace, self.pending, self.pending_schema)


@Operations.implementation_for(CreateCacheTriggers)
def _create(operations: Operations, operation: CreateCacheTriggers) -> None:
    installer = operation.installer(operations)
    if installer is not None:
        installer.create([operation.tracked])


@Operations.implementation_for(DropCacheTriggers)
def _drop(operations: Operations, operation: DropCacheTriggers) -> None:
    installer = operation.installer(operations)
    if installer is not None:
        installer.drop(operation.tracked.table, operation.tracked.schema)


@renderers.dispatch_for(CreateCacheTriggers)
def _render_create(context: AutogenContext, operation: CreateCacheTriggers) -> str:
    context.imports.add("from cache_revalidate_sqlalchemy.alembic import Note, Step")
    notes = "".join(f"        {note!r},\n" for note in operation.tracked.notes)
    arguments = f"    {operation.tracked.table!r},\n    [\n{notes}    ],\n    {operation.options()},\n"
    return f"op.create_cache_triggers(\n{arguments})"


@renderers.dispatch_for(DropCacheTriggers)
def _render_drop(context: AutogenContext, operation: DropCacheTriggers) -> str:
    context.imports.add("import cache_revalidate_sqlalchemy.alembic")
    return f"op.drop_cache_triggers({operation.tracked.table!r}, {operation.options()})"


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST, qualifier="postgresql")
def _compare(context: AutogenContext, upgrade: UpgradeOps, _: Any) -> None:
    """Add what makes the database's triggers those that the app declares, after its tables are made."""
    triggers = context.opts.get(OPTION)
    if triggers is None:
        return
    if not isinstance(triggers, Triggers) or context.connection is None:
        raise ConfigurationError(f"{OPTION} is {triggers!r}: pass the app's Triggers to context.configure().")
    options = (triggers.namespace, triggers.pending.name, triggers.pending.schema)
    installed: dict[tuple[str | None, str], Tracked] = {}
    to_mend: set[Tracked] = set()
    try:
        installer = Installer(context.connection, *options)
    except MissingTableError:
        to_mend.update(triggers.tracked)
    else:
        installed = {(tracked.schema, tracked.table): tracked for tracked in installer.installed()}
        to_mend.update(tracked for tracked in triggers.tracked if not installer.is_as_declared(tracked))
    for tracked in triggers.tracked:
        there = installed.pop((tracked.schema, tracked.table), None)
        if tracked in to_mend:
            operation = CreateCacheTriggers(tracked, *options)
            operation.replaced = there
            upgrade.ops.append(operation)
    # Before their tables are dropped, that is, and on the way back after they are there again.
    upgrade.ops[:0] = [DropCacheTriggers(tracked, *options) for tracked in installed.values()]
