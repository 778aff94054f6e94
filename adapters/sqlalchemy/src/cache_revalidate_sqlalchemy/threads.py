"""Threads for what must have a time limit and can't be given one in the caller's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_MOST = 8


class Threads:
    """A few threads of this process: made when they are needed, and made anew in a process that was forked."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Have `work` done in a thread; in this one, before the call returns, if the interpreter makes no more of them.

        An interpreter that shuts down lets threads go on that were begun, and begins no others.
        """
        if self._executor is None or self._process != os.getpid():
            # A forked process has the executor, but none of its threads.
            self._executor, self._process = (
                ThreadPoolExecutor(_MOST, thread_name_prefix="cache_revalidate"),
                os.getpid(),
            )
        try:
            return self._executor.submit(work)
        except RuntimeError:
            return _done(work)


def _done(work: Callable[[], _T]) -> Future[_T]:
    future: Future[_T] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - it is the future's to tell
        future.set_exception(error)
    return future
