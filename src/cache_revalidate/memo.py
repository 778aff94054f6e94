"""A bounded memory of what was worked out, for what is cheaper to keep than to work out again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Memo(Generic[KeyT, ValueT]):
    """Holds at most `size` values by key, and of those that were used last, at least half as many.

    In two generations, so that finding a value is one look-up and moves nothing: when the young one is full it becomes
    the old one, whose values are forgotten unless they were used meanwhile. May be used from any thread; two that put
    a value under one key at once leave one of them.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: dict[KeyT, ValueT] = {}
        self._old: dict[KeyT, ValueT] = {}

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value of `key`, None if it is not known."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: KeyT, value: ValueT) -> None:
        """Know `value` under `key`."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value
