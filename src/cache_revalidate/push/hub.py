"""The hub: all that push needs of one app, in one process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

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
        self._signals = tuple(closes_on)
        self._boards: WeakKeyDictionary[asyncio.AbstractEventLoop, Switchboard] = WeakKeyDictionary()
        self._is_closed = False
        revalidator.accompany(self.running)

    def close(self) -> None:
        """End all connections soon, and open no new ones; from any thread, and from a signal handler."""
        self._is_closed = True
        for loop, board in [*self._boards.items()]:
            if not loop.is_closed():
                loop.call_soon_threadsafe(board.close_all)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be open inside the block, and close at the end, or when a signal says that it is near."""
        self._is_closed = False
        try:
            with self._closed_on_signals():
                yield
        finally:
            self.close()
            if board := self._boards.get(asyncio.get_running_loop()):
                await board.emptied(_LAST)

    def allows(self, scope: Scope) -> bool:
        """Say whether a request's origin may connect."""
        return self._origins.allows(scope)

    def admits(self, scope: Scope) -> bool:
        """Say the same, and count who may not."""
        if self.allows(scope):
            return True
        self.stats.refused += 1
        return False

    def board(self) -> Switchboard:
        """Return the running event loop's switchboard."""
        loop = asyncio.get_running_loop()
        board = self._boards.get(loop)
        if board is None:
            board = self._boards[loop] = Switchboard(self.revalidator, self.settings, self.stats)
        return board

    def lack(self, board: Switchboard, tenant: str, viewer: Viewer) -> Lack | None:
        """Say why there is no room for a viewer's connection to a tenant, if there is none."""
        if self._is_closed:
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
        before = {number: signal.getsignal(number) for number in self._signals}

        def closing(number: int, frame: Any) -> None:
            self.close()
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)
            elif handler == signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        for number, handler in before.items():
            if handler is not None and handler != signal.SIG_IGN:
                signal.signal(number, closing)
        try:
            yield
        finally:
            for number, handler in before.items():
                if signal.getsignal(number) is closing:
                    signal.signal(number, handler)
