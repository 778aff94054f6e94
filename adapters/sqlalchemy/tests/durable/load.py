"""A hot tenant: threads that commit to it, each to a row of its own, and readers who file rows under its token."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label
from adapters.sqlalchemy.tests.durable.databases import revalidator_on
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import token_clock
from cache_revalidate_sqlalchemy import DurableStore, attach

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cache_revalidate import Revalidator

WRITERS = 8
COMMITS = 15
READERS = 2

Rows = tuple[tuple[int, str], ...]


@dataclass
class Outcome:
    """What a load came to."""

    errors: list[str] = field(default_factory=list)
    """What went wrong in writers and readers; a writer whose commit failed has tried again."""
    tokens: list[list[str]] = field(default_factory=list)
    """What each reader was shown, one after the other."""
    filed: dict[str, set[Rows]] = field(default_factory=dict)
    """The rows that readers have filed under each token, which they had read before them."""
    final: str = ""
    last_commit: int = 0
    """When the last commit was begun, in microseconds since 1970."""
    rows: Rows = ()


@contextmanager
def attached_sessions(
    engine: Engine, make_store: type[DurableStore] = DurableStore
) -> Iterator[tuple[sessionmaker[Session], Revalidator]]:
    """Give sessions of an engine whose tokens are in its database."""
    revalidator = revalidator_on(make_store(engine, TABLES))
    sessions = sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED)
    yield sessions, revalidator
    attachment.detach()


def run_load(engine: Engine, make_store: type[DurableStore] | None, *, by_orm: bool = False) -> Outcome:
    """Have the threads commit and the readers read, with a store or without; by the unit of work, or blindly."""
    with sessionmaker(engine).begin() as session:
        session.add_all(Label(id=number, account_id=1, title="0") for number in range(1, WRITERS + 1))
    if make_store is None:
        return _Load(sessionmaker(engine), None, by_orm=by_orm).run()
    with attached_sessions(engine, make_store) as (sessions, revalidator):
        return _Load(sessions, revalidator, by_orm=by_orm).run()


class _Load:
    def __init__(self, sessions: sessionmaker[Session], revalidator: Revalidator | None, *, by_orm: bool) -> None:
        self.outcome = Outcome()
        self._sessions = sessions
        self._revalidator = revalidator
        self._by_orm = by_orm
        self._lock = threading.Lock()
        self._is_over = threading.Event()

    def run(self) -> Outcome:
        with ThreadPoolExecutor(WRITERS + READERS) as threads:
            readers = [threads.submit(self._read) for _ in range(READERS)]
            try:
                for written in [threads.submit(self._write, number) for number in range(1, WRITERS + 1)]:
                    written.result(60)
            finally:
                self._is_over.set()
            for reader in readers:
                reader.result(60)
        self.outcome.rows = _rows(self._sessions)
        if self._revalidator is not None:
            self.outcome.final = asyncio.run(self._revalidator.tokens(1, "label"))["label"]
        return self.outcome

    def _failed(self, error: DBAPIError) -> None:
        with self._lock:
            self.outcome.errors.append(f"{type(error).__name__}: {error.orig}")

    def _write(self, number: int) -> None:
        for commit in range(1, COMMITS + 1):
            for _ in range(200):
                began = time.time_ns() // 1000
                try:
                    _write(self._sessions, number, str(commit), by_orm=self._by_orm)
                except DBAPIError as error:
                    self._failed(error)
                else:
                    break
            else:
                raise AssertionError("A writer failed two hundred times.")
            with self._lock:
                self.outcome.last_commit = max(self.outcome.last_commit, began)

    def _read(self) -> None:
        shown: list[str] = []
        self.outcome.tokens.append(shown)
        with asyncio.Runner() as runner:
            while not self._is_over.is_set():
                if self._revalidator is not None:
                    shown.append(runner.run(self._revalidator.tokens(1, "label"))["label"])
                try:
                    rows = _rows(self._sessions)
                except DBAPIError as error:
                    self._failed(error)
                    continue
                if shown:
                    with self._lock:
                        self.outcome.filed.setdefault(shown[-1], set()).add(rows)


def _write(sessions: sessionmaker[Session], number: int, title: str, *, by_orm: bool) -> None:
    with sessions.begin() as session:
        if by_orm:
            session.get_one(Label, number).title = title
        else:
            session.execute(update(Label).where(Label.id == number, Label.account_id == 1).values(title=title))


def _rows(sessions: sessionmaker[Session]) -> Rows:
    with sessions() as session:
        rows = session.execute(select(Label.id, Label.title).where(Label.account_id == 1).order_by(Label.id)).all()
    return tuple((number, title) for number, title in rows)


def check_tokens(outcome: Outcome) -> None:
    """Assert that each reader saw tokens grow, and that nothing stale is filed under the last one."""
    for shown in outcome.tokens:
        assert shown == sorted(shown)
    assert token_clock(outcome.final) >= outcome.last_commit
    assert outcome.rows == tuple((number, str(COMMITS)) for number in range(1, WRITERS + 1))
    assert outcome.filed.get(outcome.final, set()) <= {outcome.rows}
