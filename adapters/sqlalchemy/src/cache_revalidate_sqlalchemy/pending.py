"""What a transaction has touched so far, in a stack that follows its savepoints. Pure: it knows no SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeAlias, TypeVar

EVERY: Final = object()
"""In place of a tenant: all tenants, of whom a statement does not say which it touches."""

Pairs: TypeAlias = dict[str, set[str]]
"""Canonical tenants, and the models of each that were touched."""


def add(pairs: Pairs, tenant: str, models: Iterable[str]) -> None:
    """Add `models` of one tenant to `pairs`."""
    pairs.setdefault(tenant, set()).update(models)


def merge(into: Pairs, pairs: Pairs) -> None:
    """Add all of `pairs` to `into`."""
    for tenant, models in pairs.items():
        add(into, tenant, models)


_C = TypeVar("_C", bound=Hashable)


class Pending(Generic[_C]):
    """The pairs of one session's transaction by savepoint, and in each by connection.

    Savepoints and connections may be any hashable objects; `None` is the outermost transaction.
    """

    def __init__(self) -> None:
        self._levels: dict[Hashable, dict[_C, Pairs]] = {}

    def note(self, savepoint: Hashable, connection: _C, tenant: str, models: Iterable[str]) -> None:
        """Note that `models` of `tenant` were touched inside `savepoint`, on `connection`."""
        add(self._levels.setdefault(savepoint, {}).setdefault(connection, {}), tenant, models)

    def release(self, savepoint: Hashable, parent: Hashable) -> None:
        """Make what a released savepoint touched its parent's."""
        for connection, pairs in self._levels.pop(savepoint, {}).items():
            merge(self._levels.setdefault(parent, {}).setdefault(connection, {}), pairs)

    def drop(self, savepoint: Hashable, *, unless: Callable[[_C], bool] = lambda _: False) -> None:
        """Forget what was touched inside `savepoint`, `unless` it was on a connection whose writes may stay."""
        level = self._levels.pop(savepoint, {})
        if kept := {connection: pairs for connection, pairs in level.items() if unless(connection)}:
            self._levels[savepoint] = kept

    def take(self, connection: _C) -> Pairs:
        """Return all that was touched on `connection`, which from now on is the caller's."""
        taken = self.of(connection)
        for level in self._levels.values():
            level.pop(connection, None)
        return taken

    def of(self, connection: _C) -> Pairs:
        """Return all that was touched on `connection`."""
        pairs: Pairs = {}
        for level in self._levels.values():
            merge(pairs, level.get(connection, {}))
        return pairs
