"""Hands touched pairs to the revalidator, within a time limit, and keeps every failure from the app's commit.

With a store of the durable level, what was touched is noted in the database already, by the transaction itself: it is
folded, for which a connection is needed. So a fold waits until the session has given its own back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from cache_revalidate import EVERY_TENANT, FoldingStore, InvalidTenantError, StoreError
from cache_revalidate_sqlalchemy.behind import Behind
from cache_revalidate_sqlalchemy.durable import DurableStore
from cache_revalidate_sqlalchemy.pending import EVERY
from cache_revalidate_sqlalchemy.threads import Threads

if TYPE_CHECKING:
    from cache_revalidate import Revalidator
    from cache_revalidate_sqlalchemy.pending import Pairs

_RELEASED_BY = 1.0  # seconds

_logger = logging.getLogger("cache_revalidate")


class Push(Protocol):
    """A bump or a fold that was begun."""

    def finish(self) -> None:
        """Have it done, now that the connection is back; wait for it, up to the time limit."""
        ...


class Pusher:
    """Pushes what a commit touched: awaited for up to `timeout` seconds, or in the background."""

    def __init__(self, revalidator: Revalidator, timeout: float, *, background: bool = False) -> None:
        self._revalidator = revalidator
        self._timeout = 0.0 if background else timeout
        self._behind = Behind(self._fold) if background else None
        self._folds = isinstance(revalidator.store, FoldingStore)
        stays_in_thread = isinstance(revalidator.store, DurableStore) and revalidator.store.engines.stays_in_thread
        self._threads = Threads() if self._folds and not stays_in_thread else None
        # The event loop holds its tasks weakly; a bump must outlive whoever waits for it.
        self._tasks: set[asyncio.Task[None]] = set()

    def canonical(self, tenant: object) -> str | None:
        """Return the canonical form of a tenant; log one that has none, and return None."""
        if tenant is EVERY:
            return EVERY_TENANT
        try:
            return self._revalidator.tenant(tenant)
        except InvalidTenantError as error:
            _logger.error("A commit touched a tenant that can't be bumped: %s", error)  # noqa: TRY400
            return None

    def push(self, pairs: Pairs, *, noted: bool = True, in_doubt: bool = False) -> None:
        """Push `pairs` and wait for it, up to the time limit; `noted` says whether the database knows of them."""
        push = self.begin(pairs, noted=noted, in_doubt=in_doubt)
        if push is not None:
            push.finish()

    def push_behind(self, pairs: Pairs, *, noted: bool, in_doubt: bool = False) -> None:
        """Push `pairs`; where that needs a connection, don't wait, as the last of the pool may be the caller's."""
        if not self._folds:
            self.push(pairs)
            return
        push = self.begin(pairs, noted=noted, in_doubt=in_doubt)
        if isinstance(push, _Awaited | _InThread):
            push.start()
        elif push is not None:
            push.finish()

    def begin(self, pairs: Pairs, *, noted: bool = True, in_doubt: bool = False) -> Push | None:
        """Begin to push `pairs`; a fold is deferred until it is to be finished."""
        if not pairs:
            return None
        folds = noted and self._folds
        if folds and isinstance(self._revalidator.store, DurableStore):
            # At once: the fold may begin long after the commit has returned.
            self._revalidator.store.mark(self._revalidator.keyspace, pairs)
        if _can_await():
            if folds and self._behind is not None:
                return _Later(partial(self._behind.add, pairs, in_doubt=in_doubt))
            door = partial(self._revalidator.fold_many, in_doubt=in_doubt) if folds else self._revalidator.bump_many
            push = _Awaited(partial(self._begin_task, partial(door, pairs)), self._timeout)
            if not self._folds:
                push.start()
            return push
        sync = self._revalidator.sync
        sync_door = partial(sync.fold_many, in_doubt=in_doubt) if folds else sync.bump_many
        work = partial(_logged, partial(sync_door, pairs))
        if not self._folds:
            work()
            return None
        return _InThread(self._threads, work, self._timeout) if self._threads is not None else _Direct(work)

    def _begin_task(self, door: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._run(door))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _fold(self, pairs: Pairs, in_doubt: bool) -> None:
        await self._run(partial(self._revalidator.fold_many, pairs, in_doubt=in_doubt))

    @staticmethod
    async def _run(door: Callable[[], Awaitable[object]]) -> None:
        try:
            await door()
        except asyncio.CancelledError:
            _logger.error("A bump was cancelled; it is owed: %s", door)  # noqa: TRY400
            raise
        except Exception as error:  # noqa: BLE001 - the data is committed, whatever failed
            _log_failure(error)


class _Later:
    """What an async session has done when its connection is back, and a while later if it never says so.

    A session whose closing was cancelled doesn't.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._anyway = asyncio.get_running_loop().call_later(_RELEASED_BY, work)

    def finish(self) -> None:
        """Have it done."""
        self._anyway.cancel()
        self._work()


class _Awaited:
    """A push of an async session: a task, which is begun when the connection is back."""

    def __init__(self, begin: Callable[[], asyncio.Task[None]], timeout: float) -> None:
        self._begin = begin
        self._timeout = timeout
        self._task: asyncio.Task[None] | None = None
        # As in `_Later`.
        self._anyway = asyncio.get_running_loop().call_later(_RELEASED_BY, self.start)

    def start(self) -> asyncio.Task[None]:
        """Begin the task, if it is not begun."""
        self._anyway.cancel()
        if self._task is None:
            self._task = self._begin()
        return self._task

    def finish(self) -> None:
        """Wait for the task; it goes on if the time is over."""
        task = self.start()
        if self._timeout:
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
            _log_slowness(self._timeout)


class _InThread:
    """A fold of a synchronous session: in another thread, as nothing else can give it a time limit."""

    def __init__(self, threads: Threads, work: Callable[[], None], timeout: float) -> None:
        self._threads = threads
        self._work = partial(copy_context().run, work)
        self._timeout = timeout

    def start(self) -> Future[None]:
        """Have it done in its own time."""
        return self._threads.submit(self._work)

    def finish(self) -> None:
        """Wait for it; it goes on if the time is over."""
        future = self.start()
        if self._timeout and wait_for_futures([future], self._timeout).not_done:
            _log_slowness(self._timeout)


class _Direct:
    """A fold in a database that only this thread sees."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.finish = work


def _can_await() -> bool:
    """Say whether this is the greenlet of an AsyncSession or a `run_sync`: elsewhere `await_only` raises."""
    try:
        return in_greenlet()
    except (ImportError, ValueError):  # greenlet is not installed (2.1, 2.0)
        return False


def _logged(door: Callable[[], object]) -> None:
    try:
        door()
    except Exception as error:  # noqa: BLE001 - the data is committed, whatever failed
        _log_failure(error)


def _log_slowness(timeout: float) -> None:
    _logger.warning("A bump took longer than %s s: commit() returns, the bump goes on.", timeout)


def _log_failure(error: Exception) -> None:
    if isinstance(error, StoreError):
        _logger.error("The store did not take a commit's bumps; they are owed: %s", error)
    else:
        _logger.error("A commit's bumps failed.", exc_info=error)
