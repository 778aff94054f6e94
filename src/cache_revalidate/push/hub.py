"""The hub: all that push needs of one app, in one process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.origin import OriginRule
from cache_revalidate.push.settings import HubSettings, HubStats
from cache_revalidate.push.switchboard import Switchboard
from cache_revalidate.revalidator import checked_revalidator
from cache_revalidate.tickets import Tickets

if TYPE_CHECKING:
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Scope, Viewer

_LAST: Final = 2.0
"""Seconds for which connections that were closed are waited for when the app ends."""


class Lack(NamedTuple):
    """Why there is no room for a connection."""

    status: int
    detail: str


class Hub:
    """Tells browsers which tokens changed, over server-sent events and WebSockets; an app has one for its revalidator.

    `origins` are those, `https://desk.example` say, whose pages may connect besides the app's own (RFC 6454).
    `tickets` lets clients in that can't send headers. `closes_on` are the signals at which all connections are ended,
    while the app's lifespan runs: a server that waits for open connections to end would wait for theirs.

    Raises `ConfigurationError` if any of this could not work.
    """

    def __init__(
        self,
        revalidator: Revalidator,
        *,
        origins: Iterable[str] = (),
        tickets: Tickets | None = None,
        closes_on: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
        settings: HubSettings | None = None,
    ) -> None:
        self.revalidator: Final = checked_revalidator(revalidator)
        if not isinstance(tickets, Tickets | None):
            raise ConfigurationError(f"tickets is a {type(tickets).__name__}: pass Tickets(secret).")
        self.tickets: Final = tickets
        self.models: Final = revalidator.models
        if not isinstance(settings, HubSettings | None):
            raise ConfigurationError(f"settings is a {type(settings).__name__}: pass HubSettings(heartbeat=10), say.")
        self.settings: Final = settings or HubSettings()
        self.stats: Final = HubStats()
        self._origins = OriginRule(origins)
        self._signals = _checked_signals(closes_on)
        # Replaced as a whole, so that a signal or another thread may come at any time.
        self._boards: Mapping[asyncio.AbstractEventLoop, Switchboard] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        self._watching = 0
        self._handlers: dict[signal.Signals, Any] = {}
        revalidator.accompany(self.running)

    def close(self) -> None:
        """End all connections soon, and open no new ones; from any thread, and from a signal handler."""
        self._is_closed = True
        for loop, board in self._boards.items():
            with suppress(RuntimeError):  # It is closed, and nobody listens there any more.
                loop.call_soon_threadsafe(board.close_all)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be open inside the block, and close at the end, or when a signal says that it is near.

        Several apps may have one hub: on each event loop, connections end with the last of those that run there.
        """
        self._is_closed = False
        board = self.board() if _is_asyncio() else None
        if board is not None:
            board.enter()
        try:
            with self._closed_on_signals():
                yield
        finally:
            if board is not None:
                await board.leave_off(_LAST)

    def admits(self, scope: Scope) -> bool:
        """Say whether a request's origin may connect."""
        if self._origins.allows(scope):
            return True
        self.stats.refused += 1
        return False

    def board(self) -> Switchboard:
        """Return the running event loop's switchboard."""
        loop = asyncio.get_running_loop()
        board = self._boards.get(loop)
        if board is None:
            board = Switchboard(self.revalidator, self.settings, self.stats)
            with self._lock:
                living = {each: other for each, other in self._boards.items() if not each.is_closed()}
                self._boards = {**living, loop: board}
        return board

    def lack(self, board: Switchboard, tenant: str, viewer: Viewer) -> Lack | None:
        """Say why there is no room for a viewer's connection to a tenant, if there is none."""
        if self._is_closed or board.is_closed:
            lack = Lack(503, "The server goes away: connect again.")
        elif self.stats.connections >= self.settings.max_connections:
            lack = Lack(503, "This server holds as many connections as it can.")
        elif not board.has_room_in(tenant):
            lack = Lack(429, "This tenant has as many connections as it may.")
        elif not board.has_room_for(viewer):
            lack = Lack(429, "You have as many connections as you may.")
        else:
            return None
        self.stats.refused += 1
        return lack

    @contextmanager
    def _closed_on_signals(self) -> Iterator[None]:
        """Close when one of the signals comes, before whoever else handles it does."""
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield
            return
        self._watching += 1
        if self._watching == 1:
            self._handlers = {number: signal.getsignal(number) for number in self._signals}
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
        self.close()
        handler = self._handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _is_asyncio() -> bool:
    """Say whether this runs on asyncio: nobody can connect on trio, and an app can run there all the same."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _checked_signals(closes_on: Iterable[signal.Signals]) -> tuple[signal.Signals, ...]:
    try:
        signals = tuple(map(signal.Signals, closes_on))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"closes_on {closes_on!r:.60} is not a list of signals: closes_on=[signal.SIGTERM], say, or [] for none."
        ) from None
    if names := {number.name for number in signals} & {"SIGKILL", "SIGSTOP"}:
        raise ConfigurationError(f"Nothing can be done on {', '.join(sorted(names))}: leave it out of closes_on.")
    return signals
