"""Makes, compares and drops triggers on one connection, in its transaction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from cache_revalidate import ConfigurationError
from cache_revalidate_sqlalchemy.triggers import catalog
from cache_revalidate_sqlalchemy.triggers import text as sql
from cache_revalidate_sqlalchemy.triggers.inspection import Finding
from cache_revalidate_sqlalchemy.triggers.notes import Tracked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from cache_revalidate_sqlalchemy.triggers.catalog import Function, Relation, Trigger
    from cache_revalidate_sqlalchemy.triggers.notes import Step
    from cache_revalidate_sqlalchemy.triggers.text import Event, Place


@dataclass(frozen=True, slots=True)
class _Located:
    """A tracked table, found in the database."""

    tracked: Tracked
    relation: Relation
    ways: dict[Step, Relation]
    function: Place
    body: str

    @property
    def places(self) -> dict[Step, Place]:
        return {step: relation.place for step, relation in self.ways.items()}


class MissingTableError(ConfigurationError):
    """A table that triggers need is not there."""


class Installer:
    """The triggers of one namespace, whose rows go to one pending table."""

    def __init__(self, connection: Connection, namespace: str, pending: str, schema: str | None) -> None:
        if connection.dialect.name != "postgresql":
            raise ConfigurationError(
                f"Triggers are for PostgreSQL, not for {connection.dialect.name}: there, attached sessions note what "
                "they write, and nothing else does."
            )
        self._connection = connection
        self._namespace = namespace
        self._pending = self._found(pending, schema)
        self._schema = self._pending.place[0]
        self._prefix = sql.function_prefix(namespace)

    def create(self, tracked: Iterable[Tracked]) -> None:
        """Make what is missing, out of date or disabled, on the tables and all their partitions."""
        self._lock()
        for each in tracked:
            located = self._locate(each)
            self._put_function(located)
            for relation in catalog.family(self._connection, located.relation):
                self._put_triggers(located, relation)

    def drop(self, table: str, schema: str | None) -> None:
        """Drop the triggers that were declared for a table, which itself may be gone, and their function."""
        made_of = self._functions_and_declarations()
        functions = {name for name, made in made_of.items() if (made.table, made.schema) == (table, schema)}
        self._drop([trigger for trigger in self._triggers() if trigger.function in functions], functions)

    def drop_others(self, tracked: Iterable[Tracked]) -> None:
        """Drop all triggers of the namespace but those of some tables."""
        self._lock()
        keep = {self._locate(each).function[1] for each in tracked}
        functions = set(catalog.functions(self._connection, self._schema, self._prefix)) - keep
        self._drop([trigger for trigger in self._triggers() if trigger.function in functions], functions)

    def installed(self) -> list[Tracked]:
        """Return what the triggers that are there were made of."""
        return list(self._functions_and_declarations().values())

    def is_as_declared(self, tracked: Tracked) -> bool:
        """Say whether creating the triggers of a table would change nothing."""
        mended = {"no table", "no trigger", "disabled", "outdated"}
        return not any(finding.problem in mended for finding in self.findings([tracked]))

    def attach_partition(self, parent: Tracked, partition: str, schema: str | None, bounds: str) -> None:
        """Note the rows of a table, and make it a partition that has triggers."""
        located, relation = self._locate(parent), self._found(partition, schema)
        self._put_function(located)
        for inner in catalog.family(self._connection, relation):
            self._put_triggers(located, inner)
        clause = f"ATTACH PARTITION {sql.quoted(relation.place)} {bounds}"
        self._alter_and_note(located, relation, clause)

    def detach_partition(self, parent: Tracked, partition: str, schema: str | None) -> None:
        """Note the rows of a partition, and make it a table of its own that has no triggers."""
        located, relation = self._locate(parent), self._found(partition, schema)
        self._alter_and_note(located, relation, f"DETACH PARTITION {sql.quoted(relation.place)}")
        inner = {each.oid for each in catalog.family(self._connection, relation)}
        self._drop([trigger for trigger in self._triggers() if trigger.relation.oid in inner], ())

    def findings(self, tracked: Iterable[Tracked]) -> Iterator[Finding]:
        """Tell what is not as declared."""
        functions = catalog.functions(self._connection, self._schema, self._prefix)
        triggers = {(trigger.relation.oid, trigger.name): trigger for trigger in self._triggers()}
        declared: set[int] = set()
        for each in tracked:
            try:
                located = self._locate(each)
            except MissingTableError as error:
                yield Finding("no table", each.name, str(error))
                continue
            function = functions.get(located.function[1])
            if function is not None:
                yield from self._function_findings(located, function)
            for relation in catalog.family(self._connection, located.relation):
                declared.add(relation.oid)
                yield from self._trigger_findings(located, relation, triggers)
        for trigger in triggers.values():
            if trigger.relation.oid not in declared:
                detail = f"{trigger.name} is on a table that is not declared; create() drops it."
                yield Finding("left over", trigger.relation.name, detail)

    def _function_findings(self, located: _Located, function: Function) -> Iterator[Finding]:
        name = located.relation.name
        if not self._is_current(located, function):
            yield Finding("outdated", name, f"the function {function.name} is not as declared; create() mends it.")
        needs = [("INSERT", self._pending), *(("SELECT", relation) for relation in located.ways.values())]
        writers = {
            role
            for relation in catalog.family(self._connection, located.relation)
            for role in catalog.writers(self._connection, relation)
        }
        for role in [function.owner] if function.is_definer else sorted(writers):
            what = f"{role}, {'who owns the function' if function.is_definer else 'as whom its function runs'},"
            for right, relation in needs:
                if not catalog.may(self._connection, role, right, relation):
                    detail = f"{what} has no right to {right} on {relation.name}: writes to {name} fail."
                    yield Finding("no rights", name, detail, role)
                elif catalog.is_hidden_from(self._connection, role, relation):
                    detail = f"{what} is subject to the row security of {relation.name}: it may go unnoted, or fail."
                    yield Finding("row security", name, detail, role)

    def _trigger_findings(
        self, located: _Located, relation: Relation, triggers: dict[tuple[int, str], Trigger]
    ) -> Iterator[Finding]:
        if relation.is_foreign:
            detail = "a foreign table can't have such triggers: writes to it by its own name go unnoted."
            yield Finding("no trigger possible", relation.name, detail)
            return
        found = [
            (event, triggers.get((relation.oid, sql.trigger_name(self._namespace, event)))) for event in sql.EVENTS
        ]
        missing = [event.name for event, trigger in found if trigger is None]
        if missing:
            detail = f"{', '.join(missing)} by its own name goes unnoted; create() adds what is missing."
            yield Finding("no trigger", relation.name, detail)
        for event, trigger in found:
            if trigger is not None and not _is_as_declared(trigger, event, located.function[1]):
                yield Finding("outdated", relation.name, f"{trigger.name} is not as declared; create() mends it.")
            elif trigger is not None and trigger.enabled not in {"O", "A"}:
                yield Finding("disabled", relation.name, f"{trigger.name} does not fire; create() enables it.")

    def _functions_and_declarations(self) -> dict[str, Tracked]:
        functions = catalog.functions(self._connection, self._schema, self._prefix)
        return {name: Tracked.from_json(function.comment) for name, function in functions.items() if function.comment}

    def _locate(self, tracked: Tracked) -> _Located:
        relation = self._found(tracked.table, tracked.schema)
        ways = {step: self._found(step.table, step.schema) for note in tracked.notes for step in note.via}
        places = {step: found.place for step, found in ways.items()}
        body = sql.function_body(tracked, self._namespace, self._pending.place, places)
        function = (self._schema, sql.function_name(self._namespace, relation.place))
        return _Located(tracked, relation, ways, function, body)

    def _found(self, table: str, schema: str | None) -> Relation:
        relation = catalog.locate(self._connection, table, schema)
        if relation is None:
            name = f"{schema}.{table}" if schema else table
            raise MissingTableError(
                f"There is no table {name}: create the app's tables, and those of add_tables, first."
            )
        return relation

    def _put_function(self, located: _Located) -> None:
        functions = catalog.functions(self._connection, *located.function)
        function = functions.get(located.function[1])
        if function is None or not self._is_current(located, function):
            catalog.run(self._connection, sql.create_function(located.function, located.body, located.tracked))

    def _put_triggers(self, located: _Located, relation: Relation) -> None:
        # What is right is left alone: making it anew would wait for every transaction that writes to the table.
        if relation.is_foreign:
            return
        there = {trigger.name: trigger for trigger in self._triggers() if trigger.relation.oid == relation.oid}
        for event in sql.EVENTS:
            trigger = there.get(sql.trigger_name(self._namespace, event))
            is_right = trigger is not None and _is_as_declared(trigger, event, located.function[1])
            if trigger is None or not is_right or trigger.enabled not in {"O", "A"}:
                statement = sql.create_trigger(self._namespace, event, relation.place, located.function)
                catalog.run(self._connection, [statement])

    def _alter_and_note(self, located: _Located, partition: Relation, clause: str) -> None:
        # Altered first: from then on the table is locked, and nobody adds a row that is not noted.
        note = sql.note_all(located.tracked, self._namespace, self._pending.place, located.places, partition.place)
        catalog.run(self._connection, [f"ALTER TABLE {sql.quoted(located.relation.place)} {clause}", note])

    def _triggers(self) -> list[Trigger]:
        return catalog.triggers(self._connection, self._schema, self._prefix)

    def _drop(self, triggers: Iterable[Trigger], functions: Iterable[str]) -> None:
        name = sql.quoted
        statements = [f"DROP TRIGGER {name((each.name,))} ON {name(each.relation.place)}" for each in triggers]
        statements += [f"DROP FUNCTION IF EXISTS {name((self._schema, each))}()" for each in sorted(functions)]
        catalog.run(self._connection, statements)

    def _lock(self) -> None:
        """Have the processes of an app that all create the same at their start do it one after another."""
        key = int.from_bytes(hashlib.sha256(self._prefix.encode()).digest()[:8], signed=True)
        self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    @staticmethod
    def _is_current(located: _Located, function: Function) -> bool:
        return (
            function.body == located.body
            and function.is_definer
            and function.settings == (sql.SEARCH_PATH,)
            and function.comment == located.tracked.to_json()
        )


def _is_as_declared(trigger: Trigger, event: Event, function: str) -> bool:
    return (trigger.function, trigger.bits, trigger.old, trigger.new) == (function, event.bits, event.old, event.new)
