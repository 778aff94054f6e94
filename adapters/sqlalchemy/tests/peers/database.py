"""The database that every scenario starts with, and the lists that are served from it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.sqlalchemy.tests.desk import Base, Conversation, Inbox, InboxMember, Label, Team, sync_engine
from sqlalchemy import Engine, NullPool, event, select
from sqlalchemy.orm import InstrumentedAttribute, Session


@dataclass(frozen=True)
class View:
    """A list that the app serves to one tenant, cached until it is thought to be changed."""

    model: str
    tenant: int
    entity: Any
    where: Mapping[str, Any] = field(hash=False)
    column: InstrumentedAttribute[Any]
    related: InstrumentedAttribute[Any] | None = None
    """A relationship that is shown, too."""
    elsewhere: bool = False
    """Whether it is served by another process of the app, which has the cache's store in common with this one."""

    def shown(self, rows: Iterable[Any]) -> list[Any]:
        """Return what is served of rows."""
        return sorted((row.id, getattr(row, self.column.key), self._shown_related(row)) for row in rows)

    def _shown_related(self, row: Any) -> list[int]:
        return sorted(other.id for other in getattr(row, self.related.key)) if self.related is not None else []


LABELS = View("label", 1, Label, {"account_id": 1}, Label.title)
OTHER_LABELS = View("label", 2, Label, {"account_id": 2}, Label.title)
LABELS_ELSEWHERE = replace(LABELS, elsewhere=True)
TEAMS = View("team", 1, Team, {"account_id": 1}, Team.name)
MEMBERS = View("inbox", 1, InboxMember, {"inbox_id": 1}, InboxMember.user_id)
CONVERSATIONS = View("conversation", 1, Conversation, {"account_id": 1}, Conversation.id, Conversation.labels)


class Database:
    """Two accounts' rows, an engine that the app writes through, and one that it serves lists from."""

    def __init__(self, url: str, writing: Engine, reading: Engine) -> None:
        self.url = url
        self.async_url = url.replace("sqlite:", "sqlite+aiosqlite:")
        self.writing = writing
        self.reading = reading
        self.selects = 0
        """How many statements were sent to serve lists."""
        self.before_commit: Callable[[], None] = lambda: None
        """Called when the rows are written and are about to be committed."""
        event.listen(reading, "before_cursor_execute", self._selected)
        self.follow(writing)

    def follow(self, engine: Engine) -> None:
        """Have `before_commit` called for one more engine."""
        for end in ("commit", "commit_twophase"):  # both come before the statement is sent
            event.listen(engine, end, self._commits)

    def rows(self, view: View) -> list[Any]:
        """Return what a list holds now for everybody."""
        with Session(self.reading) as session:
            return view.shown(session.scalars(select(view.entity).filter_by(**view.where)))

    def _commits(self, *_: Any) -> None:
        self.before_commit()

    def _selected(self, *_: Any) -> None:
        self.selects += 1


@contextmanager
def new_database(url: str) -> Iterator[Database]:
    """Give the database at `url`, emptied and filled anew."""
    with sync_engine(url) as writing, sync_engine(url, poolclass=NullPool) as reading:
        Base.metadata.drop_all(writing)
        Base.metadata.create_all(writing)
        with Session(writing) as session:
            # Without ids, so that PostgreSQL counts on from here.
            label = Label(account_id=1, title="bug")
            session.add_all([label, Label(account_id=1, title="wish"), Label(account_id=2, title="bug")])
            session.add(Team(account_id=1, name="sales"))
            session.add(Inbox(account_id=1, members=[InboxMember(user_id=1), InboxMember(user_id=2)]))
            session.add(Conversation(account_id=1, labels=[label]))
            session.commit()
        yield Database(url, writing, reading)
