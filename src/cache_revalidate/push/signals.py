"""Signals that say that the process is to end: kept back until the connections have been closed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def kept_back(
    signals: Iterable[signal.Signals], close: Callable[[], Coroutine[Any, Any, None] | None]
) -> Iterator[None]:
    """Call `close` when one of the signals comes, and let it have its effect when what `close` returns is through.

    A server that is told first would end the connections before their clients were told to come again. If there is
    nothing to wait for, which is None, or if it comes again, a signal has its effect at once.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    keeper = _Keeper(close)
    keeper.watch(signals)
    try:
        yield
    finally:
        keeper.restore()


class _Keeper:
    def __init__(self, close: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        self._close = close
        self._before: dict[int, Any] = {}
        self._has_come = False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, signals: Iterable[signal.Signals]) -> None:
        """Handle the signals, but for those that the process ignores."""
        for number in signals:
            handler = signal.getsignal(number)
            if handler is not None and handler != signal.SIG_IGN:
                self._before[number] = handler
                signal.signal(number, self._come)

    def restore(self) -> None:
        """Have them handled as before, unless somebody else handles them by now."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._come:
                signal.signal(number, handler)

    def _come(self, number: int, frame: Any) -> None:
        closed = None if self._has_come else self._close()
        self._has_come = True
        if closed is None:
            self._hand_on(number, frame)
        else:
            self._loop.call_soon_threadsafe(self._hand_on_after, closed, number, frame)

    def _hand_on_after(self, closed: Coroutine[Any, Any, None], number: int, frame: Any) -> None:
        async def wait() -> None:
            await closed
            self._hand_on(number, frame)

        self._tasks.add(self._loop.create_task(wait()))

    def _hand_on(self, number: int, frame: Any) -> None:
        handler = self._before[number]
        if callable(handler):
            handler(number, frame)
        else:  # The process ends by it.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
