"""Lets those who ask for the same at the same time share one answer, as databases share one write among commits.

An answer is shared by those who asked before it was begun, never with one who came later: what is being read for the
first may be older than what the second has just written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


class Batch:
    """Those who wait for one answer."""

    def __init__(self) -> None:
        self.models: set[str] = set()
        self.is_fold = False
        """Whether one of them has committed, so that something is pending."""
        self.answer: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        # Whoever asked may be cancelled, and nobody left to be told.
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())


class Sharing(Generic[_K]):
    """Runs one batch a key at a time, on one event loop; whoever comes meanwhile waits for the next."""

    def __init__(self, run: Callable[[_K, Batch], Awaitable[dict[str, str]]]) -> None:
        self._run = run
        self._waiting: dict[_K, Batch] = {}
        self._leading: dict[_K, asyncio.Task[None]] = {}

    async def ask(self, key: _K, models: Iterable[str], *, is_fold: bool) -> dict[str, str]:
        """Return the answer for a key's models, maybe with those for others; being cancelled cancels no other."""
        batch = self._waiting.get(key)
        if batch is None:
            batch = self._waiting[key] = Batch()
        batch.models.update(models)
        batch.is_fold = batch.is_fold or is_fold
        if key not in self._leading:
            self._leading[key] = asyncio.get_running_loop().create_task(self._lead(key))
        return await asyncio.shield(batch.answer)

    async def _lead(self, key: _K) -> None:
        try:
            while batch := self._waiting.pop(key, None):
                try:
                    answer = await self._run(key, batch)
                except asyncio.CancelledError:
                    batch.answer.cancel()
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
                    batch.answer.set_exception(error)
                else:
                    batch.answer.set_result(answer)
        finally:
            del self._leading[key]
