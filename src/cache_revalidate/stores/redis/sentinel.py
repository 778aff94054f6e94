"""redis-py's clients of a Redis that sentinels watch, mended where they lose sentinels and keep to a hung primary."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import redis.asyncio.sentinel
import redis.sentinel

# redis-py moves the sentinel that answers to the front of its list. Two searches at once would both do so, one of them
# by a position that is no longer true, and put one sentinel in the place of another, until a single one is left: when
# that dies, the primary is never found again. So there is one search at a time.


class Sentinels(redis.asyncio.sentinel.Sentinel):
    """The sentinels, asked asynchronously."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self._search = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address, from the first sentinel that knows it; the others wait for this search."""
        async with self._search:
            return cast("tuple[str, int]", await super().discover_master(service_name))


class SyncSentinels(redis.sentinel.Sentinel):
    """The sentinels, asked synchronously."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self._search = threading.Lock()

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address, from the first sentinel that knows it; other threads wait for this search."""
        with self._search:
            return cast("tuple[str, int]", super().discover_master(service_name))  # type: ignore[no-untyped-call]


class SentinelClient(redis.asyncio.Redis):
    """The asynchronous client of the Redis; closes its connections to the sentinels with its own."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        await super().aclose(close_connection_pool)
        pool = cast("redis.asyncio.sentinel.SentinelConnectionPool", self.connection_pool)
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


class SyncConnection(redis.sentinel.SentinelManagedConnection):
    """A synchronous connection to the Redis, closed when an answer did not come in time.

    redis-py would keep it (unlike all its other connections): it would go on asking a primary that hangs, though the
    sentinels name another, and could take a late answer for that to the next question.
    """

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Return the next answer; close the connection if there is none in time."""
        return super().read_response(*arguments, **{"disconnect_on_error": True, **options})


class SyncTLSConnection(SyncConnection, redis.sentinel.SentinelManagedSSLConnection):
    """The same, over TLS."""
