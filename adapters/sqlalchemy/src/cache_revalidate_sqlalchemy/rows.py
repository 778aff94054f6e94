"""Notes which rows a flush writes, and the tenants that they had and have.

Mapper events tell of every row that the unit of work writes, among them orphans that are deleted and children whose
foreign key is set while the flush is under way, and allow SQL on its connection: what was expired can be read.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import object_session
from sqlalchemy.orm.attributes import get_history
from sqlalchemy.orm.base import PassiveFlag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper, Session

    from cache_revalidate_sqlalchemy.listening import Listening
    from cache_revalidate_sqlalchemy.rules import Link, RowRule, Rules
    from cache_revalidate_sqlalchemy.sessions import Sessions


class Rows:
    """Listens to the flushes of attached sessions."""

    def __init__(self, rules: Rules, sessions: Sessions) -> None:
        self._rules = rules
        self._sessions = sessions
        sessions.listeners["after_flush"] = self._flushed

    def listen(self, listening: Listening) -> None:
        """Listen to the rows of all attached classes and of those with a many-to-many relationship to one."""
        listeners = {
            "before_insert": self._before_insert,
            "after_insert": self._after_insert,
            "before_update": self._before_update,
            "after_update": self._after_update,
            "before_delete": self._before_delete,
        }
        for cls in {*self._rules.rows, *self._rules.links}:
            listening.listen(cls, listeners, propagate=True)

    def _before_insert(self, mapper: Mapper[Any], connection: Connection, obj: object) -> None:
        session = self._sessions.flushing(object_session(obj), connection)
        if session is not None:
            # A deleted object and a new one of the same identity become one UPDATE, of which no other event tells.
            replaced = session.identity_map.get(mapper.identity_key_from_instance(obj))
            if replaced is not None:
                for rule in self._rules.of(replaced):
                    self._sessions.note(session, connection, rule.models, rule.source.before(replaced))

    def _after_insert(self, _: Mapper[Any], connection: Connection, obj: object) -> None:
        session = self._sessions.flushing(object_session(obj), connection)
        if session is not None:
            self._sessions.open(session, connection)[0].noted.add(sa_inspect(obj))
            for rule in self._rules.of(obj):
                self._sessions.note(session, connection, rule.models, rule.source.now(obj))

    def _before_update(self, _: Mapper[Any], connection: Connection, obj: object) -> None:
        session = self._sessions.flushing(object_session(obj), connection)
        # The unit of work asks for an UPDATE of whatever was assigned to, be it the same value.
        if session is not None and session.is_modified(obj, include_collections=False):
            self._sessions.open(session, connection)[0].noted.add(sa_inspect(obj))
            for rule in self._rules.of(obj):
                self._sessions.note(session, connection, rule.models, rule.source.before(obj))

    def _after_update(self, _: Mapper[Any], connection: Connection, obj: object) -> None:
        session = self._sessions.flushing(object_session(obj), connection)
        if session is not None and sa_inspect(obj) in self._sessions.open(session, connection)[0].noted:
            for rule in self._rules.of(obj):
                self._sessions.note(session, connection, rule.models, rule.source.now(obj))

    def _before_delete(self, _: Mapper[Any], connection: Connection, obj: object) -> None:
        session = self._sessions.flushing(object_session(obj), connection)
        if session is not None:
            for rule in self._rules.of(obj):
                self._sessions.note(session, connection, rule.models, rule.source.before(obj))
            for link in self._rules.links_of(obj):
                self._note_link(session, obj, link, gone=True)

    def _flushed(self, session: Session, _: object) -> None:
        """Note what the rows' own events did not tell, now that all rows are written.

        These are the many-to-many relationships that were changed, and objects that were changed after their
        `before_update`: by another listener, by a relationship's `post_update`, or in place of a deleted one.
        """
        noted = self._sessions.noted(session)
        for obj in chain(session.new, session.dirty):
            rules = self._rules.of(obj)
            if rules and sa_inspect(obj) not in noted and session.is_modified(obj, include_collections=False):
                self._note(session, obj, rules)
            for link in self._rules.links_of(obj):
                self._note_link(session, obj, link)

    def _note_link(self, session: Session, obj: object, link: Link, *, gone: bool = False) -> None:
        history = get_history(obj, link.key, PassiveFlag.PASSIVE_NO_INITIALIZE)
        children = [child for child in (*history.added, *history.deleted) if child is not None]
        if gone:
            children.extend(history.unchanged)
        if children:
            self._note(session, obj, chain(self._rules.of(obj), link.parent))
            for child in children:
                self._note(session, child, chain(self._rules.of(child), link.child))

    def _note(self, session: Session, obj: object, rules: Iterable[RowRule]) -> None:
        for rule in rules:
            connection = session.connection(bind_arguments={"mapper": sa_inspect(obj).mapper})
            tenants = (*rule.source.before(obj), *rule.source.now(obj))
            self._sessions.note(session, connection, rule.models, tenants)
