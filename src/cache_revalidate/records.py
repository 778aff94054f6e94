"""What is noted while one request is handled, wherever in its code it is noted.

A context variable holds one mutable record a request: a handler in a task or a thread of its own works on a copy of the
context, and still on this same record.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

RecordT = TypeVar("RecordT")


class Records(Generic[RecordT]):
    """The records of one kind, each kept for an owner (a revalidator) during a request."""

    def __init__(self, name: str) -> None:
        self._records: ContextVar[Mapping[object, RecordT]] = ContextVar(name)

    def of(self, owner: object) -> RecordT | None:
        """Return the record that `owner` keeps for the request at hand, if there is one."""
        return self._records.get({}).get(owner)

    def collect(self, owner: object, record: RecordT) -> Collecting[RecordT]:
        """Return the block in which `record` is the one of `owner`."""
        return Collecting(self._records, owner, record)


class Collecting(Generic[RecordT]):
    """A block in which one record is kept; on leaving it, those that were kept outside of it are again."""

    __slots__ = ("_owner", "_records", "_reset", "_variable", "record")

    def __init__(self, variable: ContextVar[Mapping[object, RecordT]], owner: object, record: RecordT) -> None:
        self._variable = variable
        self._owner = owner
        self.record: Final = record

    def __enter__(self) -> RecordT:
        """Begin to keep the record."""
        self._records: dict[object, RecordT] = {**self._variable.get({}), self._owner: self.record}
        self._reset: Token[Mapping[object, RecordT]] = self._variable.set(self._records)
        return self.record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, also for a task that was started here and outlives the request: it would fill the record for ever."""
        self._variable.reset(self._reset)
        del self._records[self._owner]
