"""What happened in a hunt: one event a line, as JSON, in the order in which they ended.

Moments are seconds of the hunter's monotonic clock, counted from the hunt's begin. A *revision* numbers the commits
of one tenant, which are made one after the other.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import msgspec


class Write(msgspec.Struct, frozen=True, tag=True):
    """A commit, or what was looked up about a write that was not answered."""

    tenant: int
    way: str
    """How it was made: `patch`, `post`, `bulk` or `raw`."""
    scene: str
    """What was done to the servers meanwhile; what a client that misses this commit is put down to."""
    asked: float
    known: float
    """When it was acknowledged; or, if it was not answered, when it was found in the database."""
    revision: int
    answered: bool


class Read(msgspec.Struct, frozen=True, tag=True):
    """A client shows its user a list."""

    client: str
    tenant: int
    worker: int
    asked: float
    accepted: float
    revision: int
    """The newest revision among the rows that are shown."""
    cached: bool
    """Whether these are rows that the client held, and was told are right; else they have just been fetched."""


class Fault(msgspec.Struct, frozen=True, tag=True):
    """Something was done to a server."""

    kind: str
    at: float
    detail: str = ""


class Unanswered(msgspec.Struct, frozen=True, tag=True):
    """A client's request came to nothing: its worker was dead or stopped, or said that it could not."""

    client: str
    tenant: int
    worker: int
    asked: float
    why: str


Event: TypeAlias = Write | Read | Fault | Unanswered


class History:
    """Writes events down, and keeps them."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._began = time.monotonic()
        self._file = path.open("wb")
        self._encoder = msgspec.json.Encoder()

    def now(self) -> float:
        """Return the seconds since the hunt's begin."""
        return time.monotonic() - self._began

    def append(self, event: Event) -> None:
        """Write an event down."""
        self.events.append(event)
        self._file.write(self._encoder.encode(event) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_history(path: Path) -> Iterator[Event]:
    """Yield the events of a history that was written down."""
    decoder = msgspec.json.Decoder(Event)
    with path.open("rb") as file:
        yield from map(decoder.decode, file)
