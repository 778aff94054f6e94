"""Signals that say that the process is about to end, heard before whoever else handles them."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cache_revalidate.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

_UNHEARD: Final = frozenset(("SIGKILL", "SIGSTOP"))


class Signals:
    """Calls `close` at each of some signals, from its handler, and then whoever handled it before.

    Where nobody did, the process ends by it, once `emptied` has returned; if it comes again, at once. Raises
    `ConfigurationError` for what is not a list of signals.
    """

    def __init__(
        self, numbers: Iterable[signal.Signals], close: Callable[[], None], emptied: Callable[[], Awaitable[None]]
    ) -> None:
        self._numbers = _checked(numbers)
        self._close = close
        self._emptied = emptied
        self._watching = 0
        self._handlers: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hear them inside the block; of several such blocks, until the last is left, in whatever order that is."""
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield
            return
        self._watching += 1
        if self._watching == 1:
            self._loop = running_loop()
            self._handlers = {number: signal.getsignal(number) for number in self._numbers}
            for number, handler in self._handlers.items():
                if handler is not None and handler != signal.SIG_IGN:
                    signal.signal(number, self._handle)
        try:
            yield
        finally:
            self._watching -= 1
            if not self._watching:
                for number, handler in self._handlers.items():
                    if signal.getsignal(number) == self._handle:
                        signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        self._close()
        handler = self._handlers[number]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            if self._loop is None:
                signal.raise_signal(number)
            else:
                self._loop.call_soon_threadsafe(self._end_soon, number)

    def _end_soon(self, number: int) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._end(number))

    async def _end(self, number: int) -> None:
        await self._emptied()
        signal.raise_signal(number)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running event loop; None where there is none of asyncio's, as on trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _checked(numbers: Iterable[signal.Signals]) -> tuple[signal.Signals, ...]:
    try:
        signals = tuple(map(signal.Signals, numbers))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"closes_on {numbers!r:.60} is not a list of signals: closes_on=[signal.SIGTERM], say, or [] for none."
        ) from None
    if names := {number.name for number in signals} & _UNHEARD:
        raise ConfigurationError(f"Nothing can be done on {', '.join(sorted(names))}: leave it out of closes_on.")
    return signals
