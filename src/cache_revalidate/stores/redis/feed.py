"""What Redis publishes of changes, brought to those in this process who listen.

There is one connection, or in a cluster one to each node in use: made when somebody first listens, closed when nobody
does. Whatever goes wrong with it, all who listen over it are told that they have lost it and may listen anew. Nothing
is subscribed to again behind their backs, because they have to read anew as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio

from cache_revalidate.stores.listening import told
from cache_revalidate.stores.redis.errors import store_error
from cache_revalidate.stores.redis.line import AnyConnection, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from cache_revalidate.stores.listening import Listener
    from cache_revalidate.stores.mirror import MirrorStats
    from cache_revalidate.stores.redis.clients import AsyncClient

_PAUSE: Final = 1.0
"""Seconds after a failure in which nothing is connected."""
_LONG_PAUSE: Final = 60.0
"""The same where Redis has refused to be listened to."""

_logger = logging.getLogger("cache_revalidate")


class Feed:
    """Listens to Redis on one event loop, where that of `client` is, which may be none before the first read.

    `patience` is how many seconds connecting may take; `sharded` says that the channels are of a cluster's slots.
    """

    def __init__(
        self, client: Callable[[], AsyncClient | None], stats: MirrorStats, *, patience: float, name: str, sharded: bool
    ) -> None:
        self._client = client
        self._stats = stats
        self._patience = patience
        self._name = name
        self._sharded = sharded
        self._lines: dict[str, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: set[str] = set()
        self._is_closed = False
        self._resumes_at: dict[str, float] = {}

    def listen(self, channel: str, listener: Listener) -> bool:
        """Subscribe to a channel at the node that has it now; False if that is done, or under way, already.

        The listener is told once that is confirmed, or when it comes to nothing. A subscription at another node is lost
        to all who listen there.
        """
        line = self._line_to(channel)
        if line is not None and line.tells(channel, listener):
            return False
        elsewhere = [each for each in self._lines.values() if each is not line and each.has(channel)]
        was_told = any(each.tells(channel, listener) for each in elsewhere)
        for each in elsewhere:
            each.give_up(channel)
        if line is not None:
            line.listen(channel, listener)
        elif not was_told:
            told(lambda listener: listener.lost(), listener)
        return True

    def leave(self, channel: str, listener: Listener) -> None:
        """Have a listener hear no more of a channel."""
        for line in self._lines.values():
            line.leave(channel, listener)

    def do(self, work: Coroutine[object, object, None]) -> None:
        """Do something beside, until it is done or the feed is closed."""
        # In a context of its own: it outlives the request that happens to begin it.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End all subscriptions."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _line_to(self, channel: str) -> Line | None:
        client: Any = self._client()
        if client is None or self._is_closed:
            return None
        if not isinstance(client, redis.asyncio.RedisCluster):
            return self._line("", client.connection_pool)
        try:
            node: Any = client.get_node_from_key(channel)
        except redis.exceptions.RedisClusterException:  # No node has the slot at present, or none is known yet.
            return None
        return self._line(node.name, node)

    def _line(self, name: str, connects: Any) -> Line | None:
        line = self._lines.get(name)
        if line is not None and not line.is_over:
            return line
        if time.monotonic() < self._resumes_at.get(name, 0.0):
            return None
        line = self._lines[name] = Line(partial(_new_connection, connects), self._stats, sharded=self._sharded)
        self.do(self._run(name, line))
        return line

    async def _run(self, name: str, line: Line) -> None:
        try:
            await line.run(self._patience)
        except* Exception as failures:  # noqa: BLE001 - whatever it is, the app goes on, and reads
            (error, *_) = _leaves(failures)
            refused = isinstance(error, redis.ResponseError)
            self._resumes_at[name] = time.monotonic() + (_LONG_PAUSE if refused else _PAUSE)
            self._stats.drops += line.has_confirmed
            reason = str(store_error(error, self._name, self._patience))
            if line.has_confirmed:  # Whatever was wrong before was over.
                self._said.clear()
            if reason not in self._said:
                self._said.add(reason)
                _logger.warning(
                    "Until this is over, this process hears of no changes, and reads tokens anew: %s", reason
                )


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _new_connection(connects: Any) -> AnyConnection:
    """Return a connection like those of a pool or of a cluster's node, on which an answer may take its time."""
    # What newer versions of redis-py do about maintenance needs RESP3.
    alike = {name: value for name, value in connects.connection_kwargs.items() if "maint_notifications" not in name}
    options = {"socket_timeout": None, "health_check_interval": 0, "protocol": 2, "decode_responses": False}
    return connects.connection_class(**{**alike, **options})
