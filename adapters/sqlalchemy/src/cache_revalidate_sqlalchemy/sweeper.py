"""Finds pending rows that nobody has folded: those of a process that died, and of writes from outside the app."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from cache_revalidate import StoreError

_LAST: Final = 1.0
"""Seconds for which the sweep that is under way at the end is waited for: in a thread it could not be stopped."""

_logger = logging.getLogger("cache_revalidate")


class Sweeper:
    """Sweeps about every `interval` seconds.

    `sweep` folds what was pending already when it was last called, and returns what it is to be given next. So whoever
    commits in the app, and folds at once, is left alone, and what nobody folds waits for two intervals at the most.
    """

    def __init__(self, interval: float, sweep: Callable[[int | None], Awaitable[int | None]]) -> None:
        self._interval = interval
        self._sweep = sweep
        self._is_failing = False
        self._over = asyncio.Event()

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Sweep in the background, inside the block."""
        task = asyncio.create_task(self._sweep_on())
        try:
            yield
        finally:
            self._over.set()  # whatever becomes of a cancellation in a driver's hands
            try:
                await asyncio.wait({task}, timeout=_LAST)
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _sweep_on(self) -> None:
        newest: int | None = None
        # Many processes share the work: no two of them should come at the same moment each time.
        while not await self._is_over_within(self._interval * random.uniform(0.8, 1.0)):  # noqa: S311
            try:
                newest = await self._sweep(newest)
            except StoreError as error:
                if not self._is_failing:
                    _logger.error("What nobody has folded can't be looked for, until this is over: %s", error)  # noqa: TRY400
                self._is_failing = True
            except Exception:
                _logger.exception("A sweep failed")
            else:
                self._is_failing = False

    async def _is_over_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._over.wait()
        except TimeoutError:
            return False
