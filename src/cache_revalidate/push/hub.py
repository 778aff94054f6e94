"""The hub: all that push needs of one app, in one process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.origin import OriginRule
from cache_revalidate.push.settings import HubSettings, HubStats
from cache_revalidate.push.signals import checked_signals, kept_back
from cache_revalidate.push.switchboard import Switchboard
from cache_revalidate.revalidator import checked_revalidator
from cache_revalidate.tickets import Tickets

if TYPE_CHECKING:
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Scope, Viewer

_FAREWELL: Final = 0.5
"""Seconds for which a signal is kept back while connections are closed."""

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
        self._signals = checked_signals(closes_on)
        self._keeping = 0
        self._kept = ExitStack()
        # Replaced as a whole, so that a signal or another thread may come at any time.
        self._boards: Mapping[asyncio.AbstractEventLoop, Switchboard] = {}
        self._lock = threading.Lock()
        self._is_closed = False
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
            with self._signals_kept_back():
                yield
        finally:
            if board is not None:
                await board.leave_off(_LAST)

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
            lack = Lack(429, "As many connections are told of this tenant, or of different ones, as may be.")
        elif not board.has_room_for(viewer):
            lack = Lack(429, "You have as many connections as you may.")
        else:
            return None
        self.stats.refused += 1
        return lack

    @contextmanager
    def _signals_kept_back(self) -> Iterator[None]:
        """Keep signals back inside the block: of several, until the last is left, in whatever order that is."""
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield
            return
        self._keeping += 1
        if self._keeping == 1:
            self._kept.enter_context(kept_back(self._signals, self._close_on_signal))
        try:
            yield
        finally:
            self._keeping -= 1
            if not self._keeping:
                self._kept.close()

    def _close_on_signal(self) -> Coroutine[Any, Any, None] | None:
        """Close; return what is to be waited for, if there is anybody to be told."""
        self.close()
        board = self._boards.get(asyncio.get_running_loop()) if _is_asyncio() else None
        return board.emptied(_FAREWELL) if board is not None and self.stats.connections else None


def _is_asyncio() -> bool:
    """Say whether this runs on asyncio: on trio an app can run, and nobody connect."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
