"""Follows the transactions of attached sessions: what was touched, in which savepoint, and whether it is committed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy.exc import UnboundExecutionError

from cache_revalidate_sqlalchemy.pending import Pairs, Pending, add, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import InstanceState, Session, SessionTransaction, UOWTransaction

    from cache_revalidate_sqlalchemy.connections import Connections, ConnectionState
    from cache_revalidate_sqlalchemy.listening import Listening
    from cache_revalidate_sqlalchemy.push import Push, Pusher


class Work:
    """One session's outermost transaction."""

    def __init__(self, session: Session) -> None:
        self.session = ref(session)
        self.pending: Pending[ConnectionState] = Pending()
        self.asked: Pending[None] = Pending()
        """What the app asked to be bumped, on no connection in particular."""
        self.unplaced: Pairs = {}
        """What it asked for, and no connection can note, as the commit begins."""
        self.connections: set[ConnectionState] = set()
        self.pushes: list[Push] = []
        self.noted: set[InstanceState[Any]] = set()
        """The objects whose rows this flush writes and that are noted, from before their UPDATE on."""
        self.flush: UOWTransaction | SessionTransaction | None = None
        """The flush that was announced, or its transaction."""
        self.in_judged_statement = False
        """A bulk statement runs whose tenants are known."""

    @property
    def in_flush(self) -> bool:
        """Whether the unit of work writes rows, of which its own events tell."""
        session = self.session()
        # A flush that is announced may write nothing, and its listeners may write past the unit of work: the
        # innermost transaction is then another. No public call tells that one.
        return session is not None and self.is_flush(session._transaction)

    def is_flush(self, transaction: SessionTransaction | None) -> bool:
        """Say whether a transaction is the one that the flush opened for itself."""
        return transaction is not None and getattr(self.flush, "transaction", self.flush) is transaction

    def touched(self, state: ConnectionState) -> Pairs:
        """Return what was touched on a connection."""
        return self.pending.of(state)

    def take(self, state: ConnectionState) -> Pairs:
        """Give away what was touched on a connection."""
        return self.pending.take(state)


class Sessions:
    """The attached sessions that have a transaction open."""

    def __init__(
        self, listening: Listening, connections: Connections, pusher: Pusher, engine: Engine | None = None
    ) -> None:
        self._listening = listening
        self._connections = connections
        self._pusher = pusher
        self._engine = engine
        self._works: WeakKeyDictionary[Session, Work] = WeakKeyDictionary()
        self.listeners: dict[str, Callable[..., Any]] = {
            "after_begin": self._begun,
            "before_commit": self._commits,
            "after_commit": self._committed,
            "after_rollback": self._rolled_back,
            "after_transaction_end": self._ended,
            "before_flush": self._flush_begins,
            "after_flush_postexec": self._flushed,
        }

    def follows(self, connection: Connection) -> bool:
        """Say whether all that happens on `connection` is followed, because its engine is attached."""
        return self._engine is not None and connection.dialect is self._engine.dialect

    def flushing(self, session: Session | None, connection: Connection) -> Session | None:
        """Return the session that flushes on `connection`, if it is attached or its engine is, else None."""
        if session is None or session in self._works:
            return session
        if not self.follows(connection):
            return None
        # The first row that this session writes: its own events tell of all that comes.
        self._listen(session)
        self.open(session, connection)[0].flush = session._transaction
        return session

    def working_on(self, connection: Connection) -> Work | None:
        """Return the session's transaction that is open on `connection`."""
        state = self._connections.get(connection)
        owner = state.owner if state is not None else None
        return owner if isinstance(owner, Work) else None

    def open(self, session: Session, connection: Connection) -> tuple[Work, ConnectionState]:
        """Return the session's transaction, which works on `connection`."""
        work = self._work(session)
        state = self._connections.watch(connection)
        state.owner = work
        work.connections.add(state)
        return work, state

    def note(self, session: Session, connection: Connection, models: Iterable[str], tenants: Iterable[object]) -> None:
        """Note that `models` of `tenants` were touched by the session, on `connection`."""
        work, state = self.open(session, connection)
        for tenant in self._canonical(tenants):
            work.pending.note(session.get_nested_transaction(), state, tenant, models)

    def ask(self, session: Session, tenant: str, models: Iterable[str]) -> None:
        """Note that the app wants `models` of `tenant` bumped when the session's transaction commits."""
        if self._engine is not None:
            self._listen(session)
        if not session.in_transaction():
            session.begin()  # or its end would not be heard of
        self._work(session).asked.note(session.get_nested_transaction(), None, tenant, models)

    def note_without_session(self, connection: Connection, models: Iterable[str], tenants: Iterable[object]) -> None:
        """Note that `models` of `tenants` were touched on a connection whose session, if any, is not known."""
        state = self._connections.watch(connection)
        for tenant in self._canonical(tenants):
            add(state.pairs, tenant, models)

    def _canonical(self, tenants: Iterable[object]) -> Iterable[str]:
        for tenant in tenants:
            if tenant is not None and (canonical := self._pusher.canonical(tenant)) is not None:
                yield canonical

    def noted(self, session: Session) -> set[InstanceState[Any]]:
        """Return the objects that the session's flush has noted by now."""
        return self._work(session).noted

    def push_written(self, work: Work) -> None:
        """Bump what was touched on AUTOCOMMIT connections, as soon as it is written."""
        for state in work.connections:
            if state.autocommit:
                self._pusher.push(work.take(state), noted=False)

    def _listen(self, session: Session) -> None:
        if session not in self._listening:
            self._listening.listen(session, self.listeners)

    def _work(self, session: Session) -> Work:
        work = self._works.get(session)
        if work is None:
            work = self._works[session] = Work(session)
        return work

    def _begun(self, session: Session, _: SessionTransaction, connection: Connection) -> None:
        self.open(session, connection)

    def _commits(self, session: Session) -> None:
        """Count what the app asked for towards a connection that is about to commit, one that notes it if there is."""
        work = self._works.get(session)
        if work is None or session.in_nested_transaction() or not (asked := work.asked.take(None)):
            return
        if not work.connections:
            with suppress(UnboundExecutionError):  # of a session that has a bind for each class, and has used none
                self.open(session, session.connection())
        committing = [state for state in work.connections if not state.autocommit]
        if not committing:
            work.unplaced = asked
            return
        state = min(committing, key=lambda state: not state.notes)
        for tenant, models in asked.items():
            work.pending.note(None, state, tenant, models)

    def _committed(self, session: Session) -> None:
        work = self._works.get(session)
        if work is None:
            return
        savepoint = session.get_nested_transaction()
        if savepoint is not None:
            work.pending.release(savepoint, _enclosing(savepoint))
            work.asked.release(savepoint, _enclosing(savepoint))
            return
        due: dict[bool, Pairs] = {True: {}, False: work.unplaced}
        work.unplaced = {}
        for state in work.connections:
            # A session that was joined to a transaction it does not end has committed nothing yet.
            if state.is_undecided:
                merge(state.pairs, work.take(state))
            else:
                merge(due[state.notes], state.take())
        # Begun here, where a cancellation has not had its chance yet, and awaited when the connections are returned.
        pushes = (self._pusher.begin(pairs, noted=noted) for noted, pairs in due.items())
        work.pushes += [push for push in pushes if push is not None]

    def _rolled_back(self, session: Session) -> None:
        work = self._works.get(session)
        if work is not None:
            # A rollback takes nothing back of what a failed COMMIT, or another bind's, may have made durable.
            work.pending.drop(session.get_nested_transaction(), unless=lambda state: state.may_be_durable)
            work.asked.drop(session.get_nested_transaction())

    def _ended(self, session: Session, transaction: SessionTransaction) -> None:
        work = self._works.get(session)
        if work is None:
            return
        if transaction.nested:
            work.pending.drop(transaction, unless=lambda state: state.may_be_durable)
            work.asked.drop(transaction)
        elif work.is_flush(transaction):
            work.flush = None
            work.noted.clear()
        elif transaction.parent is None:
            del self._works[session]
            self._close(work)

    def _close(self, work: Work) -> None:
        in_doubt: Pairs = {}
        written: Pairs = {}
        for state in work.connections:
            left = work.take(state)
            state.owner = None
            if state.is_undecided:
                merge(state.pairs, left)
            elif state.may_be_durable:
                merge(in_doubt if state.notes else written, left)
        for push in work.pushes:
            push.finish()
        self._pusher.push(in_doubt, in_doubt=True)
        self._pusher.push(written, noted=False)

    def _flush_begins(self, session: Session, flush: UOWTransaction, _: object) -> None:
        self._work(session).flush = flush

    def _flushed(self, session: Session, *_: Any) -> None:
        self.push_written(self._work(session))


def _enclosing(savepoint: SessionTransaction) -> SessionTransaction | None:
    """Return the savepoint around another, or None for the outermost transaction."""
    parent = savepoint.parent
    while parent is not None and not parent.nested:
        parent = parent.parent
    return parent
