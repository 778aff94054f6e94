"""Signals that say that the process is to end: kept back until the connections have been closed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from cache_revalidate.exceptions import ConfigurationError

_UNHEARD: Final = frozenset(("SIGKILL", "SIGSTOP"))


def checked_signals(closes_on: Iterable[signal.Signals]) -> tuple[signal.Signals, ...]:
    """Return `closes_on` as a tuple; raise `ConfigurationError` for what is not a list of signals to be handled."""
    try:
        signals = tuple(map(signal.Signals, closes_on))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"closes_on {closes_on!r:.60} is not a list of signals: closes_on=[signal.SIGTERM], say, or [] for none."
        ) from None
    if names := {number.name for number in signals} & _UNHEARD:
        raise ConfigurationError(f"Nothing can be done on {', '.join(sorted(names))}: leave it out of closes_on.")
    return signals


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
            asyncio.get_running_loop().call_soon_threadsafe(self._hand_on_after, closed, number, frame)

    def _hand_on_after(self, closed: Coroutine[Any, Any, None], number: int, frame: Any) -> None:
        async def wait() -> None:
            await closed
            self._hand_on(number, frame)

        self._tasks.add(asyncio.get_running_loop().create_task(wait()))

    def _hand_on(self, number: int, frame: Any) -> None:
        handler = self._before[number]
        if callable(handler):
            handler(number, frame)
        else:  # The process ends by it.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
