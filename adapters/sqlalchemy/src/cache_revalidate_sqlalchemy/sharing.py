"""Lets those who ask for the same at the same time share one answer, as databases share one write among commits.

An answer is shared by those who asked before it was begun, never with one who came later: what is being read for the
first may be older than what the second has just written.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cache_revalidate_sqlalchemy.pending import Pairs, add

if TYPE_CHECKING:
    from cache_revalidate_sqlalchemy.copies import Changes, Tokens

_K = TypeVar("_K", bound=Hashable)

_PATIENCE: Final = 0.05
"""Seconds that a batch waits for the one before it, which may be waiting for a lock that somebody keeps."""
_MOST: Final = 4
"""How many batches of a key run at a time at the most: each has a connection of a pool that may be the app's."""


class Batch:
    """What is asked next, and those who wait for the answer."""

    def __init__(self) -> None:
        self.pairs: Pairs = {}
        self.waiting: list[asyncio.Future[dict[str, Tokens]]] = []
        self.patience: asyncio.TimerHandle | None = None

    def undecided(self) -> Iterator[asyncio.Future[dict[str, Tokens]]]:
        """Yield those who still wait: whoever was cancelled does not."""
        return (waiter for waiter in self.waiting if not waiter.done())


class Sharing(Generic[_K]):
    """Runs one batch a key at a time, on one event loop; whoever comes meanwhile waits for the next.

    Behind a batch that takes long, a few are run at a time.
    """

    def __init__(self, run: Callable[[_K, Pairs], Awaitable[dict[str, Tokens]]]) -> None:
        self._run = run
        self._waiting: dict[_K, Batch] = {}
        self._leading: Counter[_K] = Counter()
        # The event loop holds its tasks weakly.
        self._leaders: set[asyncio.Task[None]] = set()

    async def ask(self, key: _K, changes: Changes) -> dict[str, Tokens]:
        """Return the answer for `changes`; being cancelled cancels no other who shares it."""
        loop = asyncio.get_running_loop()
        batch = self._waiting.get(key)
        if batch is None:
            batch = self._waiting[key] = Batch()
            if key in self._leading:
                self._be_patient(key, batch)
            else:
                self._begin(key)
        for tenant, models in changes.items():
            add(batch.pairs, tenant, models)
        waiter: asyncio.Future[dict[str, Tokens]] = loop.create_future()
        batch.waiting.append(waiter)
        answer = await waiter
        return {tenant: {model: answer[tenant][model] for model in models} for tenant, models in changes.items()}

    def _be_patient(self, key: _K, batch: Batch) -> None:
        batch.patience = asyncio.get_running_loop().call_later(_PATIENCE, self._lose_patience, key, batch)

    def _lose_patience(self, key: _K, batch: Batch) -> None:
        if self._waiting.get(key) is not batch:
            return
        if self._leading[key] < _MOST:
            self._begin(key)
        else:
            self._be_patient(key, batch)

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
                    for waiter in batch.undecided():
                        waiter.cancel()
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
                    for waiter in batch.undecided():
                        waiter.set_exception(error)
                else:
                    for waiter in batch.undecided():
                        waiter.set_result(answer)
        finally:
            self._leading[key] -= 1
            if not self._leading[key]:
                del self._leading[key]
