"""Triggers that note every write of a PostgreSQL database, whoever makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate_sqlalchemy.rules import mapper_of
from cache_revalidate_sqlalchemy.tables import Tables
from cache_revalidate_sqlalchemy.triggers.declared import declared
from cache_revalidate_sqlalchemy.triggers.inspection import Inspection
from cache_revalidate_sqlalchemy.triggers.installer import Installer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from cache_revalidate_sqlalchemy.rules import Tenant, Touch
    from cache_revalidate_sqlalchemy.triggers.notes import Tracked


class Triggers:
    """The triggers that note, in the transaction itself, which models of which tenants a statement touched.

    `tables` is what `add_tables` returned, `models` the mapping that `attach` takes. In place of a function, which no
    trigger can call, it has `sql("...")`. Where the revalidator makes tenants canonical by a function of the app's own,
    `canonical` does the same in SQL: `"lower({tenant})"`.

    Its methods take a synchronous `Connection`, of PostgreSQL 14 or newer, and work in its transaction, which the
    caller commits; an `AsyncConnection` has `run_sync`. Raises `ConfigurationError` if any of this could not work.
    """

    def __init__(
        self,
        revalidator: Revalidator,
        tables: Tables,
        models: Mapping[Any, Tenant | Touch],
        *,
        canonical: str | None = None,
    ) -> None:
        if not isinstance(revalidator, Revalidator):
            raise ConfigurationError(f"Triggers(revalidator, tables, models) was given {revalidator!r} as the first.")
        if not isinstance(tables, Tables):
            raise ConfigurationError(f"tables is a {type(tables).__name__}: pass what add_tables returned.")
        self.namespace = revalidator.keyspace.namespace
        self.pending = tables.pending
        self.tracked = declared(revalidator, models, canonical)

    def create(self, connection: Connection) -> None:
        """Have the database note what is declared, on tables and partitions, and nothing else of the namespace.

        It makes what is missing, out of date or disabled, and drops what is left over, so that it can be called again
        whenever something may have changed. Each trigger that it makes locks its table against writes until the
        transaction ends.
        """
        installer = self._installer(connection)
        installer.create(self.tracked)
        installer.drop_others(self.tracked)

    def inspect(self, connection: Connection) -> Inspection:
        """Compare the database with what is declared; change nothing."""
        return Inspection(self.namespace, tuple(self._installer(connection).findings(self.tracked)))

    def drop(self, connection: Connection) -> None:
        """Drop all triggers of the namespace and their functions."""
        self._installer(connection).drop_others(())

    def attach_partition(
        self, connection: Connection, parent: type | Table, partition: str, bounds: str, *, schema: str | None = None
    ) -> None:
        """Make the table `partition` one of `parent`'s partitions, give it triggers, and note all its rows.

        `bounds` is the clause that says which rows it holds, in SQL: `"FOR VALUES IN (1, 2)"`. (A partition that is
        *created* is empty: there, calling `create` is enough.)
        """
        self._installer(connection).attach_partition(self._tracked(parent), partition, schema, bounds)

    def detach_partition(
        self, connection: Connection, parent: type | Table, partition: str, *, schema: str | None = None
    ) -> None:
        """Detach a partition, note all its rows, and drop its triggers."""
        self._installer(connection).detach_partition(self._tracked(parent), partition, schema)

    def _installer(self, connection: Connection) -> Installer:
        return Installer(connection, self.namespace, self.pending.name, self.pending.schema)

    def _tracked(self, parent: type | Table) -> Tracked:
        table = parent if isinstance(parent, Table) else mapper_of(parent).local_table
        for tracked in self.tracked:
            if isinstance(table, Table) and (tracked.schema, tracked.table) == (table.schema, table.name):
                return tracked
        raise ConfigurationError(f"{parent!r} has no triggers: it is not among the declared classes and tables.")
