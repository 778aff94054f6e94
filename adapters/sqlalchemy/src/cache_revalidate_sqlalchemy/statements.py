"""Notes the tenants of bulk statements, and refuses, before they run, those whose tenants nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from sqlalchemy import Alias, Delete, Insert, StatementLambdaElement, Update
from sqlalchemy.orm import FromStatement

from cache_revalidate_sqlalchemy.bulk import Dml, UnknownTenantError, tenants_of
from cache_revalidate_sqlalchemy.pending import EVERY
from cache_revalidate_sqlalchemy.returning import CountedResult, tells_by
from cache_revalidate_sqlalchemy.sources import as_tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Executable, Table
    from sqlalchemy.engine import Result
    from sqlalchemy.orm import ORMExecuteState

    from cache_revalidate_sqlalchemy.bulk import Parameters
    from cache_revalidate_sqlalchemy.connections import Connections
    from cache_revalidate_sqlalchemy.rules import Rules, TableRule
    from cache_revalidate_sqlalchemy.sessions import Sessions

OPTION: Final = "cache_tenants"
"""The execution option that names the tenants of a bulk statement."""

_JUDGED: Final = "_cache_revalidate_judged"
"""The execution option of a statement that the session's listener has judged."""

OnUnknownTenant: TypeAlias = "Literal['error', 'every_tenant'] | Callable[[Connection, Dml], object]"
"""What becomes of a bulk statement that does not say which tenants it touches."""


class Statements:
    """Listens to the statements that attached sessions execute, and to those on their connections."""

    def __init__(
        self, rules: Rules, connections: Connections, sessions: Sessions, on_unknown_tenant: OnUnknownTenant
    ) -> None:
        self._rules = rules
        self._connections = connections
        self._sessions = sessions
        self._on_unknown_tenant = on_unknown_tenant
        sessions.listeners["do_orm_execute"] = self._execute
        connections.listeners["before_execute"] = self._before_execute
        connections.listeners["after_execute"] = self._after_execute

    def _execute(self, state: ORMExecuteState) -> Result[Any] | None:
        statement, session = _dml(state.statement), state.session
        rules = self._rules_for(statement)
        if statement is None or not rules:
            return None
        connection = session.connection(bind_arguments=dict(state.bind_arguments))
        parameters = _as_list(state.parameters)
        # Given a list of parameters, the ORM writes by primary key, which returns nothing.
        asked: dict[TableRule, ColumnElement[Any]] | None = None if isinstance(state.parameters, list) else {}
        judged = self._judge(connection, statement, parameters, state.execution_options, rules, asked=asked)
        for models, tenants in judged:
            self._sessions.note(session, connection, models, tenants)
        if not asked and not parameters and not isinstance(statement, Insert):
            # One statement comes of it, and reaches the connection with the session's options.
            state.update_execution_options(**{_JUDGED: True})
            return None
        work, _ = self._sessions.open(session, connection)
        outer, work.in_judged_statement = work.in_judged_statement, True
        try:
            result = self._tell(state, connection, statement, asked) if asked else state.invoke_statement()
        finally:
            work.in_judged_statement = outer
        self._connections.push_written(connection)
        return result

    def _tell(
        self,
        state: ORMExecuteState,
        connection: Connection,
        statement: Dml,
        asked: Mapping[TableRule, ColumnElement[Any]],
    ) -> Result[Any]:
        """Execute a statement with RETURNING added, and note the tenants that it tells."""
        rows = state.invoke_statement(statement=statement.returning(*asked.values())).all()
        for position, rule in enumerate(asked):
            self._sessions.note(state.session, connection, rule.models, {row[position] for row in rows})
        return CountedResult(len(rows))

    def _before_execute(
        self,
        connection: Connection,
        executed: Executable,
        multiple: Sequence[Parameters],
        single: Parameters,
        options: Mapping[str, Any],
    ) -> None:
        """Judge what reaches a connection past `Session.execute`, `bulk_insert_mappings` among it."""
        statement = _dml(executed)
        rules = self._rules_for(statement)
        if statement is None or not rules or _JUDGED in options:
            return
        work = self._sessions.working_on(connection)
        if work is None and not self._sessions.follows(connection):
            return
        by_orm = "compiled_cache" in options
        if work is None or work.in_flush:
            # Rows that the unit of work writes are told by their own events.
            told = (work is not None and by_orm) or statement.table in self._rules.associations
        else:
            told = work.in_judged_statement
        if told:
            return
        if by_orm and isinstance(statement, Insert):
            # A subclass's own table; the row of its base's, which names the tenant, went before.
            rules = [rule for rule in rules if rule.has_tenant or rule.held is None]
        parameters = multiple or ([single] if single else [])
        session = work.session() if work is not None else None
        for models, tenants in self._judge(connection, statement, parameters, options, rules):
            if session is None:
                self._sessions.note_without_session(connection, models, tenants)
            else:
                self._sessions.note(session, connection, models, tenants)

    def _after_execute(self, connection: Connection, *_: Any) -> None:
        work = self._sessions.working_on(connection)
        if work is None or not (work.in_flush or work.in_judged_statement):
            self._connections.push_written(connection)

    def _rules_for(self, statement: Dml | None) -> Sequence[TableRule]:
        return () if statement is None else self._rules.tables.get(_table(statement), ())

    def _judge(
        self,
        connection: Connection,
        statement: Dml,
        parameters: Sequence[Parameters],
        options: Mapping[str, Any],
        rules: Iterable[TableRule],
        *,
        asked: dict[TableRule, ColumnElement[Any]] | None = None,
    ) -> list[tuple[tuple[str, ...], Iterable[object]]]:
        """Return models and the tenants that the statement touches them of; raise if they can't be told.

        Where the statement itself can tell them by a column, the rule is added to `asked`, if that is given.
        """
        if OPTION in options:
            tenants = as_tenants(options[OPTION])
            return [(rule.models, tenants) for rule in rules]
        judged = []
        for rule in rules:
            held = rule.held.inside(statement.table) if rule.held else None
            found = tenants_of(statement, parameters, held) if held else None
            if held is not None and found is None and asked is not None:
                column = tells_by(statement, parameters, held, connection.dialect)
                if column is not None:
                    asked[rule] = column
                    continue
            judged.append((rule.models, self._unknown(connection, statement, rule) if found is None else found))
        return judged

    def _unknown(self, connection: Connection, statement: Dml, rule: TableRule) -> Iterable[object]:
        if self._on_unknown_tenant == "every_tenant":
            return [EVERY]
        if self._on_unknown_tenant != "error":
            return as_tenants(self._on_unknown_tenant(connection, statement))
        table = _table(statement).name
        models = ", ".join(rule.models)
        known_by = (
            f"name them in its {'VALUES' if isinstance(statement, Insert) else 'WHERE'} "
            f"({', '.join(sorted(rule.held.names))} as plain values, by = or IN, joined by AND)"
            if rule.held
            else f"this table does not hold the tenant of {models}"
        )
        raise UnknownTenantError(
            f"This bulk {statement.__visit_name__.upper()} of {table} does not say which tenants' {models} it touches, "
            f"so it was not executed. Ways out: {known_by}; give them with .execution_options({OPTION}=[...]), "
            "where [] means none; load the objects and change those; or pass attach(..., on_unknown_tenant=...) "
            'a function that returns them or, with a DurableStore, "every_tenant".'
        )


def _dml(statement: Executable) -> Dml | None:
    """Return the INSERT, UPDATE or DELETE that is executed, be it to return objects."""
    if isinstance(statement, StatementLambdaElement):
        statement = statement._resolved  # no public call gives the statement that a lambda stands for
    if isinstance(statement, FromStatement):
        statement = statement.element
    return statement if isinstance(statement, Insert | Update | Delete) else None


def _table(statement: Dml) -> Table:
    """Return the table that is written, be it under another name."""
    table: Any = statement.table
    while isinstance(table, Alias):
        table = table.element
    return cast("Table", table)


def _as_list(parameters: object) -> list[Parameters]:
    if not parameters:
        return []
    return [parameters] if isinstance(parameters, dict) else list(parameters)  # type: ignore[call-overload]
