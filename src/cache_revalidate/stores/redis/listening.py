"""When a store listens: while an app runs with it, on the event loop of the first that does."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cache_revalidate.stores.redis.feed import Feed


class Listening:
    """The feed of one store, made when its app starts and closed when the last on its event loop has ended."""

    def __init__(self, make_feed: Callable[[], Feed]) -> None:
        self._make_feed = make_feed
        self._feed: Feed | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._apps = 0

    @property
    def feed(self) -> Feed | None:
        """The feed, for who is on its event loop."""
        return None if self._feed is None or running_loop() is not self._loop else self._feed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Feed | None]:
        """Give the feed; None where another event loop of this process has it."""
        loop = running_loop()
        # A loop that is closed, or of the process that this one was forked off, will not end here what it has begun.
        if self._loop is not None and (self._loop.is_closed() or self._process != os.getpid()):
            self._feed, self._loop, self._apps = None, None, 0
        if loop is None or self._loop not in {None, loop}:
            yield None
            return
        if self._feed is None:
            self._feed, self._loop, self._process = self._make_feed(), loop, os.getpid()
        feed = self._feed
        self._apps += 1
        try:
            yield feed
        finally:
            if self._feed is feed:
                self._apps -= 1
                if not self._apps:
                    self._feed, self._loop = None, None
                    await feed.aclose()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running event loop; None where there is none of asyncio's, as on trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
