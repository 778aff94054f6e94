"""Finds pending rows that nobody has folded: those of a process that died, and of writes from outside the app."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from cache_revalidate import StoreError

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
        self._is_over = False

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Sweep in the background, inside the block."""
        self._is_over = False
        task = asyncio.create_task(self._sweep_on())
        try:
            yield
        finally:
            self._is_over = True  # whatever becomes of the cancellation in a driver's hands
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _sweep_on(self) -> None:
        newest: int | None = None
        while not self._is_over:
            # Many processes share the work: no two of them should come at the same moment each time.
            await asyncio.sleep(self._interval * random.uniform(0.8, 1.0))  # noqa: S311
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
