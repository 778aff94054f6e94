"""A model of two processes on one database with shared copies, and of what any client may hold; see test_protocol."""

from __future__ import annotations

import asyncio
import copy
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Base, Label, use_savepoint_recipe
from adapters.sqlalchemy.tests.durable.databases import revalidator_on
from sqlalchemy import Engine, create_engine, event, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import CopyStore, Keyspace, MemoryStore, StoreError
from cache_revalidate_sqlalchemy import DurableStore, attach
from cache_revalidate_sqlalchemy.dirty import Dirty

MAX_STALE = 60.0
NAMESPACE = "cache_revalidate"
TENANTS = ("1", "2")
HEALED_AFTER = MAX_STALE + 6.0
"""Seconds after a fault when nothing stale is answered any more: a copy's life, and the age of what may make one."""

Rows = tuple[tuple[int, str], ...]


class FaultyCopies(CopyStore):
    """Copies in memory, which may be away, lose what they have acknowledged, or take it late."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.inner = MemoryStore(monotonic=now)
        self.mode = "ok"
        self.late: list[dict[str, dict[str, str]]] = []

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> dict[str, str]:
        """Fail: copies are peeked at."""
        raise NotImplementedError

    async def bump(self, keyspace: Keyspace, changes: Any) -> dict[str, dict[str, str]]:
        """Fail: copies are raised."""
        raise NotImplementedError

    def bump_sync(self, keyspace: Keyspace, changes: Any) -> dict[str, dict[str, str]]:
        """Fail: copies are raised."""
        raise NotImplementedError

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> dict[str, str] | None:
        """Return what is at hand, unless away."""
        return None if self.mode == "away" else self.inner.held(keyspace, tenant, models)

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> dict[str, str]:
        """Peek, unless away."""
        if self.mode == "away":
            raise StoreError("away")
        return await self.inner.peek(keyspace, tenant, models)

    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """Raise, or what the mode says."""
        return self.raise_tokens_sync(keyspace, tokens)

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """Raise, or what the mode says."""
        mine = {tenant: dict(of_tenant) for tenant, of_tenant in tokens.items()}
        if self.mode == "lost":
            return mine
        if self.mode == "late":
            self.late.append(mine)
        if self.mode != "ok":
            raise StoreError(self.mode)
        return self.inner.raise_tokens_sync(keyspace, tokens)

    async def drop(self, keyspace: Keyspace, changes: Any) -> None:
        """Drop, unless away."""
        self.drop_sync(keyspace, changes)

    def drop_sync(self, keyspace: Keyspace, changes: Any) -> None:
        """Drop, unless away."""
        if self.mode != "ok":
            raise StoreError(self.mode)
        self.inner.drop_sync(keyspace, changes)


class Process:
    """One process of the app, with engines, marks and listeners of its own."""

    def __init__(self, world: World) -> None:
        self._apps, self._own = world.engine(), world.engine()
        self.store = world.make_store(self._own, TABLES, world.copies, max_stale=MAX_STALE, sweep_every=0)
        self.store._copies._dirty[NAMESPACE] = Dirty(MAX_STALE + 10, monotonic=world.now)
        self.revalidator = revalidator_on(self.store)
        self.sessions: sessionmaker[Session] = sessionmaker(self._apps)
        self._attachment = attach(self.revalidator, self.sessions, ATTACHED, on_unknown_tenant="every_tenant")
        self.before: tuple[int, Callable[[], None]] | None = None
        """How many of the store's statements are left until something happens, and what."""
        event.listen(self._own, "before_cursor_execute", self._executes)
        event.listen(self._own, "commit", self._executes)

    def _executes(self, *_: object) -> None:
        if self.before is not None:
            left, action = self.before
            self.before = (left - 1, action) if left else None
            if not left:
                action()

    def end(self) -> None:
        """End the process."""
        self._attachment.detach()
        self._apps.dispose()
        self._own.dispose()


class World:
    """The database, the copies, the clock, and what clients were given."""

    def __init__(self, make_store: type[DurableStore] = DurableStore) -> None:
        self.make_store = make_store
        self._folder = tempfile.TemporaryDirectory(prefix="cache-revalidate-test-")
        self._runner = asyncio.Runner()
        self.clock = 1000.0
        self.copies = FaultyCopies(self.now)
        self.watching = self.engine()
        with closing(sqlite3.connect(str(self.watching.url.database))) as connection:
            connection.execute("PRAGMA journal_mode = wal")
        Base.metadata.create_all(self.watching)
        self.processes = [Process(self), Process(self)]
        self.filed: dict[str, dict[str, Rows]] = {tenant: {} for tenant in TENANTS}
        """What clients hold: rows by the token that was read before them; those that are not the first are newer."""
        self.unsure_until = 0.0
        """Until when a fault may have stale tokens answered."""
        self.deceived_until = 0.0
        """Until when copies may be older than what a process was told that they hold."""
        self.writers: dict[str, Process] = {}
        self.versions: dict[str, str] = {}
        self._titles = 0
        self.dump: Any = None

    def now(self) -> float:
        """Return the time."""
        return self.clock

    def engine(self) -> Engine:
        """Return an engine of the one database."""
        engine = create_engine(f"sqlite:///{Path(self._folder.name) / 'desk.sqlite'}", connect_args={"timeout": 0})
        use_savepoint_recipe(engine)
        return engine

    def fault(self, *, deceives: bool = False) -> None:
        """Note that from now on a stale token may be answered for a while."""
        self.unsure_until = self.clock + HEALED_AFTER
        if deceives:
            self.deceived_until = self.clock + HEALED_AFTER

    def rows(self) -> dict[str, Rows]:
        """Return all rows by tenant."""
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        with self.watching.connect() as connection:
            for number, title, account in connection.execute(
                select(Label.id, Label.title, Label.account_id).order_by(Label.id)
            ):
                found[str(account)].append((number, title))
        return {tenant: tuple(found[tenant]) for tenant in TENANTS}

    def transact(self, process: Process, actions: Sequence[tuple[str, int, int]], end: str) -> None:
        """Run a transaction: commit it, roll it back, or close its session."""
        before = self.rows()
        if self.copies.mode != "ok":
            self.fault(deceives=self.copies.mode == "lost")
        try:
            with process.sessions() as session:
                for name, number, account in actions:
                    self._act(session, name, number, account)
                if end == "commit":
                    session.commit()
                elif end == "roll back":
                    session.rollback()
        except OperationalError as error:
            if "locked" not in str(error):
                raise
        after = self.rows()
        for tenant in TENANTS:
            if after[tenant] != before[tenant]:
                self.writers[tenant] = process

    def _act(self, session: Session, name: str, number: int, account: int) -> None:
        self._titles += 1
        title = str(self._titles)
        labels = session.scalars(select(Label).order_by(Label.id)).all()
        label = labels[number % len(labels)] if labels else None
        if name == "add" or label is None:
            session.add(Label(account_id=account, title=title))
        elif name == "edit":
            label.title = title
        elif name == "move":
            label.account_id = account
        elif name == "delete":
            session.delete(label)
        elif name == "bulk":
            session.execute(update(Label).where(Label.account_id == account).values(title=title))
        elif name == "every":
            session.connection().execute(update(Label).values(title=title))  # which no RETURNING is added to
        else:
            with session.begin_nested() as savepoint:
                label.title = title
                label.account_id = account
                session.flush()
                savepoint.commit() if name == "released savepoint" else savepoint.rollback()
        session.flush()

    def read(self, process: Process, tenant: str) -> str | None:
        """Have a client read a token, and then the rows that it files under it; None if it was given none."""
        if self.copies.mode in {"late", "lost"}:
            self.fault(deceives=True)
        try:
            token = self._runner.run(process.revalidator.tokens(tenant, "label"))["label"]
        except StoreError:
            return None
        rows = self.rows()[tenant]
        held = self.filed[tenant].setdefault(token, rows)
        sure = self.clock > self.unsure_until
        own = self.writers.get(tenant) is process and self.clock > self.deceived_until
        if sure or own:
            assert held == rows, f"{token} labels {held} and {rows}"
        return token

    def heal(self) -> None:
        """End all faults, let time pass in which everyone reads, and look: all must be right."""
        self.copies.mode = "ok"
        self.copies.late.clear()
        for process in self.processes:
            process.before = None
        for _ in range(8):
            for process in self.processes:
                for tenant in TENANTS:
                    self.read(process, tenant)
            self.clock += 9
        assert self.clock > self.unsure_until
        rows = self.rows()
        for tenant in TENANTS:
            tokens = {self.read(process, tenant) for process in self.processes for _ in range(2)}
            assert len(tokens) == 1, "Nobody writes, and tokens change."
            held = self.filed[tenant][str(tokens.pop())]
            assert held == rows[tenant], f"In the end a token labels {held} and {rows[tenant]}"
        with self.watching.connect() as connection:
            assert not connection.scalar(select(func.count()).select_from(TABLES.pending)), "Rows stay pending."

    def check_truth(self) -> None:
        """Assert that no token goes backward, and that no copy is ahead of the truth."""
        with self.watching.connect() as connection:
            rows = connection.execute(select(TABLES.versions.c.tenant, TABLES.versions.c.token)).all()
        versions: dict[str, str] = {tenant: token for tenant, token in rows}  # noqa: C416 - a row is no pair to checkers
        for tenant, token in versions.items():
            assert token >= self.versions.get(tenant, ""), "A token went backward."
            held = self._runner.run(self.copies.inner.peek(Keyspace(NAMESPACE, MAX_STALE), tenant, ["label"]))
            assert held.get("label", "") <= token, "A copy is ahead of the truth."
        self.versions = versions

    def save_copies(self) -> None:
        """Dump the copies."""
        self.dump = copy.deepcopy(self.copies.inner._minted)

    def restore_copies(self) -> None:
        """Put the older dump in the copies' place, as a failover does."""
        self.copies.inner._minted = copy.deepcopy(self.dump or {})
        self.fault(deceives=True)

    def restart(self, number: int) -> Process:
        """End a process, and start another in its place."""
        self.processes[number].end()
        self.processes[number] = Process(self)
        return self.processes[number]

    def end(self) -> None:
        """Let go of all."""
        for process in self.processes:
            process.end()
        self.watching.dispose()
        self._runner.close()
        self._folder.cleanup()
