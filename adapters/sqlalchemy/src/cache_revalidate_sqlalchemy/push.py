"""Hands touched pairs to the revalidator, within a time limit, and keeps every failure from the app's commit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from cache_revalidate import InvalidTenantError, StoreError

if TYPE_CHECKING:
    from cache_revalidate import Revalidator
    from cache_revalidate_sqlalchemy.pending import Pairs

_logger = logging.getLogger("cache_revalidate")


class Pusher:
    """Bumps what a commit touched: awaited for up to `timeout` seconds in async code, at once in synchronous code."""

    def __init__(self, revalidator: Revalidator, timeout: float) -> None:
        self._revalidator = revalidator
        self._timeout = timeout
        # The event loop holds its tasks weakly; a bump must outlive whoever waits for it.
        self._tasks: set[asyncio.Task[None]] = set()

    def canonical(self, tenant: object) -> str | None:
        """Return the canonical form of a tenant; log one that has none, and return None."""
        try:
            return self._revalidator.tenant(tenant)
        except InvalidTenantError as error:
            _logger.error("A commit touched a tenant that can't be bumped: %s", error)  # noqa: TRY400
            return None

    def push(self, pairs: Pairs) -> None:
        """Bump `pairs` and wait for it."""
        self.wait(self.start(pairs))

    def start(self, pairs: Pairs) -> asyncio.Task[None] | None:
        """Begin to bump `pairs` and return the task to wait for; in synchronous code it is done on return."""
        if not pairs:
            return None
        if not _can_await():
            self._bump_sync(pairs)
            return None
        task = asyncio.get_running_loop().create_task(self._bump(pairs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def wait(self, task: asyncio.Task[None] | None) -> None:
        """Wait for a task that `start` returned, up to the time limit; it goes on if that is over."""
        if task is not None:
            await_only(self._settle(task))

    async def _settle(self, task: asyncio.Task[None]) -> None:
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout)
        except asyncio.CancelledError as cancellation:
            # What is committed can't be cancelled, and an error here would wedge the session: the task that
            # commits is cancelled again, at its next await. The count of requests stays as asyncio.timeout needs it.
            current = cast("asyncio.Task[object]", asyncio.current_task())
            current.uncancel()
            current.cancel(*cancellation.args)
            return
        if not done:
            _logger.warning("A bump took longer than %s s: commit() returns, the bump goes on.", self._timeout)

    async def _bump(self, pairs: Pairs) -> None:
        try:
            await self._revalidator.bump_many(pairs)
        except asyncio.CancelledError:
            _logger.error("A bump was cancelled; it is owed: %s", pairs)  # noqa: TRY400
            raise
        except Exception as error:  # noqa: BLE001 - the data is committed, whatever failed
            _log_failure(error)

    def _bump_sync(self, pairs: Pairs) -> None:
        try:
            self._revalidator.sync.bump_many(pairs)
        except Exception as error:  # noqa: BLE001
            _log_failure(error)


def _can_await() -> bool:
    """Say whether this is the greenlet of an AsyncSession or a `run_sync`: elsewhere `await_only` raises."""
    try:
        return in_greenlet()
    except (ImportError, ValueError):  # greenlet is not installed (2.1, 2.0)
        return False


def _log_failure(error: Exception) -> None:
    if isinstance(error, StoreError):
        _logger.error("The store did not take a commit's bumps; they are owed: %s", error)
    else:
        _logger.error("A commit's bumps failed.", exc_info=error)
