"""What happens to a connection that a session works on: its engine and its pool tell, the session can't.

The last moment to note in the database what a transaction has touched is before its COMMIT, or its PREPARE, is sent.
A COMMIT is announced before it is sent. The first sign after it (the connection's return to the pool, its next
transaction) settles what nobody has bumped until then: pairs of a session that was joined to a transaction it did not
end, and of one that never heard of its own COMMIT's end because it was cancelled, or lost another bind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakSet, ref

from cache_revalidate_sqlalchemy.pending import Pairs, merge

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

    from cache_revalidate_sqlalchemy.listening import Listening
    from cache_revalidate_sqlalchemy.push import Pusher


_logger = logging.getLogger("cache_revalidate")


class Notebook(Protocol):
    """Where transactions note what they touch."""

    def can_note(self, connection: Connection) -> bool:
        """Say whether a connection is to a database where it can be noted."""
        ...

    def note(self, connection: Connection, pairs: Pairs) -> None:
        """Note pairs, in the connection's transaction."""
        ...


class Owner(Protocol):
    """Who works on a connection: a session's transaction."""

    def touched(self, state: ConnectionState) -> Pairs:
        """Return what was touched on the connection."""
        ...

    def take(self, state: ConnectionState) -> Pairs:
        """Give away what was touched on the connection."""
        ...


class ConnectionState:
    """What is known of one connection. The pool holds it, so it keeps neither the connection nor a session alive."""

    def __init__(self, connection: Connection, *, can_note: bool) -> None:
        self._connection = ref(connection)
        self._can_note = can_note
        self.autocommit = _is_autocommit(connection)
        """Every statement is durable at once, and a rollback takes nothing back."""
        self.commit_sent = False
        """A COMMIT was sent, and no transaction has begun since."""
        self.pairs: Pairs = {}
        """What was touched by sessions that ended while the connection's transaction went on."""
        self.owner: Owner | None = None
        """The session's transaction that is open on the connection, if any."""

    @property
    def notes(self) -> bool:
        """Whether its transactions note in the database what they touch."""
        return self._can_note and not self.autocommit

    @property
    def may_be_durable(self) -> bool:
        """Whether what was touched may have been committed."""
        return self.commit_sent or self.autocommit

    @property
    def is_undecided(self) -> bool:
        """Whether the connection's transaction goes on, so that what was touched is neither durable nor lost."""
        connection = self._connection()
        return connection is not None and connection.in_transaction() and not self.autocommit

    def touched(self) -> Pairs:
        """Return all that was touched on the connection."""
        pairs: Pairs = {}
        merge(pairs, self.pairs)
        if self.owner is not None:
            merge(pairs, self.owner.touched(self))
        return pairs

    def take(self) -> Pairs:
        """Give away all that was touched on the connection."""
        taken, self.pairs = self.pairs, {}
        if self.owner is not None:
            merge(taken, self.owner.take(self))
        return taken


class Connections:
    """The states of the connections on which attached sessions work, or of all connections of attached engines."""

    def __init__(self, listening: Listening, pusher: Pusher, notebook: Notebook | None) -> None:
        self._listening = listening
        self._pusher = pusher
        self._notebook = notebook
        self._can_note: WeakKeyDictionary[Dialect, bool] = WeakKeyDictionary()
        self._states: WeakKeyDictionary[Connection, ConnectionState] = WeakKeyDictionary()
        # An engine's dialect is its own, and that of all that `Engine.execution_options` makes of it.
        self._dialects: WeakSet[Dialect] = WeakSet()
        self.listeners: dict[str, Callable[..., Any]] = {
            "begin": self._begun,
            "begin_twophase": self._begun,
            "commit": self._commits,
            "prepare_twophase": self._prepares,
            "commit_twophase": self._commits_twophase,
            "rollback": self._rolled_back,
            "rollback_twophase": self._rolled_back,
        }

    def get(self, connection: Connection) -> ConnectionState | None:
        """Return the state of a connection, if it is watched."""
        return self._states.get(connection)

    def watch_engine(self, engine: Engine) -> None:
        """Listen to all connections of an engine, which nobody is using yet."""
        self._dialects.add(engine.dialect)
        self._listening.listen(engine, self.listeners)
        self._watch_pool(engine)

    def watch(self, connection: Connection) -> ConnectionState:
        """Return the state of a connection, which is watched from now on."""
        state = self._states.get(connection)
        if state is None:
            can_note = self._notebook is not None and self._asked_once(self._notebook, connection)
            state = self._states[connection] = ConnectionState(connection, can_note=can_note)
            if connection.dialect not in self._dialects:
                # An engine that is found at work may be calling its listeners at this moment, for a session that
                # awaits its database in one of them: no other can be added then. The connection is this session's.
                self._listening.listen(connection, self.listeners)
                self._watch_pool(connection.engine)
        connection.info[self] = state
        return state

    def push_written(self, connection: Connection) -> None:
        """Bump what was touched on an AUTOCOMMIT connection: it is durable as soon as it is written."""
        state = self._states.get(connection)
        if state is not None and state.autocommit:
            self._pusher.push(state.take(), noted=False)

    def _watch_pool(self, engine: Engine) -> None:
        if engine.pool not in self._listening:
            self._listening.listen(engine.pool, {"checkin": self._returned})

    def _begun(self, connection: Connection, *_: Any) -> None:
        state = self._states.get(connection)
        if state is not None:
            if state.may_be_durable:
                self._pusher.push_behind(state.take(), noted=state.notes)
            state.commit_sent = False
            state.autocommit = _is_autocommit(connection)

    def _commits(self, connection: Connection) -> None:
        try:
            self._prepares(connection)
        except BaseException:
            _roll_back(connection)
            raise
        self._commit_sent(connection)

    def _commits_twophase(self, connection: Connection, _: object, is_prepared: bool) -> None:
        if not is_prepared:
            self._prepares(connection)
        self._commit_sent(connection)

    def _prepares(self, connection: Connection, *_: Any) -> None:
        """Note what was touched: what this statement inserts is committed with the data, or not at all."""
        state = self._states.get(connection)
        if state is not None and self._notebook is not None and state.notes:
            self._notebook.note(connection, state.touched())

    def _asked_once(self, notebook: Notebook, connection: Connection) -> bool:
        can_note = self._can_note.get(connection.dialect)
        if can_note is None:
            can_note = self._can_note[connection.dialect] = notebook.can_note(connection)
            if not can_note:
                _logger.warning(
                    "%r is not known to the DurableStore: what is committed there is noted in the store's own database "
                    "after the commit, which a crash can lose. Add the tables there, and give its engine to "
                    "DurableStore(others=[...]).",
                    connection.engine,
                )
        return can_note

    def _commit_sent(self, connection: Connection) -> None:
        state = self._states.get(connection)
        if state is not None:
            state.commit_sent = True

    def _rolled_back(self, connection: Connection, *_: Any) -> None:
        state = self._states.get(connection)
        if state is not None and not state.autocommit:
            state.pairs.clear()

    def _returned(self, driver_connection: object, entry: ConnectionPoolEntry) -> None:
        state = entry.info.pop(self, None)
        if state is not None and state.may_be_durable:
            # One that broke, or was broken off, comes back as None: who knows what became of its COMMIT.
            self._pusher.push_behind(state.take(), noted=state.notes, in_doubt=driver_connection is None)


def _roll_back(connection: Connection) -> None:
    """End a transaction whose COMMIT will not be sent.

    SQLAlchemy takes it for ended, whatever was raised, and would give the connection back to the pool with it open: the
    next session would fail in it, or commit it.
    """
    if connection.invalidated:
        return
    try:
        connection.connection.rollback()
    except BaseException:
        connection.invalidate()
        raise


def _is_autocommit(connection: Connection) -> bool:
    # No public call tells the isolation level without asking the database.
    return connection._is_autocommit_isolation()
