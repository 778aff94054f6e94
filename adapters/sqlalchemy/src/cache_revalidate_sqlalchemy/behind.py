"""Folds in the background what commits have touched, of many commits at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from cache_revalidate_sqlalchemy.pending import Pairs, merge

Fold: TypeAlias = Callable[[Pairs, bool], Awaitable[object]]
"""Folds pairs, and keeps every failure to itself; the flag says that their transaction is in doubt."""

_PAUSE: Final = 0.01
"""Seconds from the beginning of one fold to that of the next: what is committed meanwhile shares the next."""
_PATIENCE: Final = 0.05
"""Seconds that the next waits for a fold that takes long: for a lock, or for a million tenants."""


class Behind:
    """What waits for a fold, on each event loop."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()

    def add(self, pairs: Pairs, *, in_doubt: bool) -> None:
        """Have `pairs` folded: at once, or as soon as the last fold's pause is over."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = _Queue(self._fold)
        queue.add(pairs, in_doubt=in_doubt)


class _Queue:
    """What waits on one event loop."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._waiting: dict[bool, Pairs] = {}
        self._task: asyncio.Task[None] | None = None
        # The event loop holds its tasks weakly.
        self._folds: set[asyncio.Task[None]] = set()
        self._next_at = 0.0

    def add(self, pairs: Pairs, *, in_doubt: bool) -> None:
        merge(self._waiting.setdefault(in_doubt, {}), pairs)
        if self._task is None or self._task.done():  # cancelled before it began, that is
            # It is of no request: what it mints is not for the answer of whoever has committed first.
            self._task = asyncio.get_running_loop().create_task(self._work(), context=Context())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                await asyncio.sleep(self._next_at - loop.time())
                self._next_at = loop.time() + _PAUSE
                taken, self._waiting = self._waiting, {}
                begun = {loop.create_task(self._run(pairs, in_doubt)) for in_doubt, pairs in taken.items()}
                self._folds |= begun
                for task in begun:
                    task.add_done_callback(self._folds.discard)
                await asyncio.wait(begun, timeout=_PATIENCE)
        finally:
            self._task = None

    async def _run(self, pairs: Pairs, in_doubt: bool) -> None:
        await self._fold(pairs, in_doubt)
