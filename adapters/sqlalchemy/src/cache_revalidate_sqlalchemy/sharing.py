"""Lets those who ask for the same at the same time share one answer, as databases share one write among commits.

An answer is shared by those who asked before it was begun, never with one who came later: what is being read for the
first may be older than what the second has just written.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cache_revalidate_sqlalchemy.pending import Pairs, merge

if TYPE_CHECKING:
    from cache_revalidate_sqlalchemy.copies import Changes, Tokens

_K = TypeVar("_K", bound=Hashable)

_PATIENCE: Final = 0.05
"""Seconds that a batch waits for the one before it, which may be waiting for a lock that somebody keeps."""


class Batch:
    """Those who wait for one answer."""

    def __init__(self) -> None:
        self.pairs: Pairs = {}
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[dict[str, Tokens]] = loop.create_future()
        # Whoever asked may be cancelled, and nobody left to be told.
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        self.patience: asyncio.TimerHandle | None = None


class Sharing(Generic[_K]):
    """Runs one batch a key at a time, on one event loop; whoever comes meanwhile waits for the next."""

    def __init__(self, run: Callable[[_K, Pairs], Awaitable[dict[str, Tokens]]]) -> None:
        self._run = run
        self._waiting: dict[_K, Batch] = {}
        self._leading: Counter[_K] = Counter()
        # The event loop holds its tasks weakly.
        self._leaders: set[asyncio.Task[None]] = set()

    async def ask(self, key: _K, changes: Changes) -> dict[str, Tokens]:
        """Return the answer for `changes`; being cancelled cancels no other who shares it."""
        batch = self._waiting.get(key)
        if batch is None:
            batch = self._waiting[key] = Batch()
            if key in self._leading:
                batch.patience = asyncio.get_running_loop().call_later(_PATIENCE, self._lose_patience, key, batch)
            else:
                self._begin(key)
        merge(batch.pairs, {tenant: {*models} for tenant, models in changes.items()})
        answer = await asyncio.shield(batch.answer)
        return {tenant: {model: answer[tenant][model] for model in models} for tenant, models in changes.items()}

    def _lose_patience(self, key: _K, batch: Batch) -> None:
        if self._waiting.get(key) is batch:
            self._begin(key)

    def _begin(self, key: _K) -> None:
        self._leading[key] += 1
        leader = asyncio.get_running_loop().create_task(self._lead(key))
        self._leaders.add(leader)
        leader.add_done_callback(self._leaders.discard)

    async def _lead(self, key: _K) -> None:
        try:
            while batch := self._waiting.pop(key, None):
                if batch.patience is not None:
                    batch.patience.cancel()
                try:
                    answer = await self._run(key, batch.pairs)
                except asyncio.CancelledError:
                    batch.answer.cancel()
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
                    batch.answer.set_exception(error)
                else:
                    batch.answer.set_result(answer)
        finally:
            self._leading[key] -= 1
            if not self._leading[key]:
                del self._leading[key]
