"""A listener that notes what it is told."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cache_revalidate.stores import Keyspace, Line, Store
    from cache_revalidate.types import Tokens

_POLL = 0.01
_TOLD_BY = 5.0


class Ear:
    """Notes the tokens that it is told of, and whether it may rely on that."""

    def __init__(self) -> None:
        self.tokens: Tokens = {}
        self.times = 0
        self.is_told = False

    def confirmed(self, line: Line) -> None:  # noqa: ARG002
        """Note it."""
        self.is_told = True

    def heard(self, tokens: Tokens) -> None:
        """Note it."""
        self.times += 1
        self.tokens |= tokens

    def lost(self) -> None:
        """Note it."""
        self.is_told = False


@asynccontextmanager
async def listening(store: Store, keyspace: Keyspace, *ears: Ear, tenant: str = "1") -> AsyncIterator[bool]:
    """Have some listen to a tenant inside the block, once it is confirmed; give whether the store tells all."""
    telling = [store.listen(keyspace, tenant, ear) for ear in ears]
    if all(telling):
        await until(lambda: all(_is_told(store, keyspace, ear, tenant) for ear in ears), "a listener is confirmed")
    try:
        yield all(telling)
    finally:
        for ear in ears:
            store.leave(keyspace, tenant, ear)
            ear.is_told = False


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + _TOLD_BY
    while not condition():
        assert time.monotonic() < ends, f"not within {_TOLD_BY:g} s: {what}"
        await asyncio.sleep(_POLL)


def _is_told(store: Store, keyspace: Keyspace, ear: Ear, tenant: str) -> bool:
    if not ear.is_told:
        store.listen(keyspace, tenant, ear)
    return ear.is_told
