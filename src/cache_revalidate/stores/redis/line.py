"""One subscribed connection to Redis, and for how long its silence may be believed.

A ping is sent every second. What was published before Redis answered it has come before the answer: so whoever listens
knows all that was published until the last answered ping was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import redis
from redis.crc import key_slot

from cache_revalidate.stores.listening import Audience, told
from cache_revalidate.stores.redis.layout import published_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache_revalidate.stores.listening import Listener
    from cache_revalidate.stores.mirror import MirrorStats

AnyConnection: TypeAlias = Any  # redis.asyncio.Connection and its kin, which have no common type

_PING_EVERY: Final = 1.0
_BELIEVED_FOR: Final = 3.0
"""Seconds for which an answered ping is believed, counted from when it was sent."""

_NOT_HERE: Final = (
    redis.exceptions.MovedError,
    redis.exceptions.AskError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
"""What a cluster's node answers to the command for one channel, and not to those for others."""

_AT_ONCE: Final = 500
"""How many channels one command names at the most."""

_AT_A_TIME: Final = 50
"""How many answers are taken before others on the event loop have their turn: half a millisecond's worth."""

_MESSAGES: Final = frozenset((b"message", b"smessage"))
_SUBSCRIBED: Final = frozenset((b"subscribe", b"ssubscribe"))
_UNSUBSCRIBED: Final = frozenset((b"unsubscribe", b"sunsubscribe"))


class Line:
    """Listens over one connection, which is made later; `sharded` says that channels are of a cluster's slots.

    `stats` is told the round trips of pings.
    """

    def __init__(self, make_connection: Callable[[], AnyConnection], stats: MirrorStats, *, sharded: bool) -> None:
        self.believed_until = 0.0
        self.has_confirmed = False
        self.is_over = False
        self._make_connection = make_connection
        self._stats = stats
        self._sharded = sharded
        self._audiences: dict[str, Audience] = {}
        self._confirmed: set[str] = set()
        # Commands and their channels: to be sent, and sent without an answer yet. Each gets one, in their order.
        self._unsent: deque[tuple[str, str]] = deque()
        self._unanswered: deque[tuple[str, str]] = deque()
        self._under_way: Counter[str] = Counter()
        self._ping_sent: float | None = None
        self._wake = asyncio.Event()

    def has(self, channel: str) -> bool:
        """Say whether somebody listens to the channel here, or will when it is confirmed."""
        return channel in self._audiences

    def tells(self, channel: str, listener: Listener) -> bool:
        """Say whether that is one of those who do."""
        audience = self._audiences.get(channel)
        return audience is not None and listener in audience

    def listen(self, channel: str, listener: Listener) -> None:
        """Subscribe to a channel soon; who comes when that is confirmed already hears so at once."""
        audience = self._audiences.get(channel)
        if audience is None:
            audience = self._audiences[channel] = Audience()
            self._command("SUBSCRIBE", channel)
        audience.add(listener)
        if channel in self._confirmed:
            told(lambda listener: listener.confirmed(self), listener)

    def leave(self, channel: str, listener: Listener) -> None:
        """Have a listener hear no more; with the last of a channel, end the subscription soon."""
        audience = self._audiences.get(channel)
        if audience is not None:
            audience.discard(listener)
            if not audience:
                self._forget(channel)
                self._command("UNSUBSCRIBE", channel)

    def give_up(self, channel: str) -> None:
        """End a subscription soon; its listeners hear that they have lost it."""
        self._command("UNSUBSCRIBE", channel)
        self._lose(channel)

    async def run(self, patience: float) -> None:
        """Connect within `patience` seconds, and tell the listeners what comes, until there are none.

        Raises what goes wrong: whoever listens then is told that he has lost his subscription.
        """
        try:
            connection = self._make_connection()
            try:
                async with asyncio.timeout(patience):
                    await connection.connect()
                async with asyncio.TaskGroup() as tasks:
                    hearing = tasks.create_task(self._hear_on(connection))
                    await self._send_on(connection)
                    hearing.cancel()
            finally:
                self._end()
                await connection.disconnect(nowait=True)
        finally:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        self.believed_until = 0.0
        self._confirmed.clear()
        lost, self._audiences = self._audiences, {}
        for audience in lost.values():
            audience.lost()

    def _command(self, command: str, channel: str) -> None:
        self._under_way[channel] += 1
        self._unsent.append((f"S{command}" if self._sharded else command, channel))
        self._wake.set()

    async def _send_on(self, connection: AnyConnection) -> None:
        next_ping = time.monotonic()
        while self._audiences or self._unsent:
            self._wake.clear()
            now = time.monotonic()
            if now >= next_ping:
                self._ping(now)
                next_ping = now + _PING_EVERY
            await self._send(connection)
            try:
                async with asyncio.timeout(next_ping - now):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _ping(self, now: float) -> None:
        if self._ping_sent is None:
            self._ping_sent = now
            self._unsent.appendleft(("PING", "cache_revalidate"))
        elif now - self._ping_sent > _BELIEVED_FOR:
            raise redis.ConnectionError(f"a ping was not answered within {_BELIEVED_FOR:g} s")

    async def _send(self, connection: AnyConnection) -> None:
        unsent, self._unsent = self._unsent, deque()
        commands: list[tuple[str, ...]] = []
        for command, group in groupby(unsent, key=lambda each: each[0]):
            channels = [channel for _, channel in group]
            # The slots of several channels may differ, and a cluster takes those of one alone in a command.
            size = 1 if self._sharded else _AT_ONCE
            commands += [(command, *channels[start : start + size]) for start in range(0, len(channels), size)]
        if commands:
            self._unanswered += unsent
            packed = connection.pack_commands(commands)
            if not connection.is_connected:  # redis-py would connect anew, and nobody be told
                raise redis.ConnectionError("the connection is closed")
            async with asyncio.timeout(_BELIEVED_FOR):
                await connection.send_packed_command(packed, check_health=False)

    async def _hear_on(self, connection: AnyConnection) -> None:
        while True:
            for _ in range(_AT_A_TIME):
                try:
                    answer = await connection.read_response(disable_decoding=True)
                except _NOT_HERE as error:
                    # The slot is another node's by now, or nobody's, which whoever reads from it learns, too.
                    if self._is_answer(error):
                        self._lose(self._answered())
                else:
                    self._take(answer)
            await asyncio.sleep(0)  # While there is more to read, reading lets nobody else have a turn.

    def _is_answer(self, error: Exception) -> bool:
        """Say whether an error is the answer to the command that was sent first.

        A node that gives a slot away ends the subscriptions by itself, which looks like the answer to an UNSUBSCRIBE
        that it has not read yet: what it then answers to that has no command left.
        """
        if not isinstance(error, redis.exceptions.AskError):  # or MovedError, which alone tell of their slot
            return True
        return bool(self._unanswered) and key_slot(self._unanswered[0][1].encode()) == error.slot_id

    def _take(self, answer: object) -> None:
        match answer:
            case [bytes(kind), bytes(channel), bytes(payload)] if kind in _MESSAGES:
                if audience := self._audiences.get(channel.decode()):
                    audience.heard(published_tokens(payload))
            case [bytes(kind), bytes(channel), _] if kind in _SUBSCRIBED:
                self._confirm(self._answered(), channel.decode())
            case [bytes(kind), bytes(channel), _] if kind in _UNSUBSCRIBED:
                self._unsubscribed(kind.decode().upper(), channel.decode())
            case _:  # to a ping
                self._answered()
                self._pong()

    def _answered(self) -> str:
        """Take note of the answer to the command that was sent first; return its channel."""
        _, channel = self._unanswered.popleft()
        self._under_way[channel] -= 1
        if self._under_way[channel] <= 0:
            del self._under_way[channel]
        return channel

    def _confirm(self, channel: str, confirmed: str) -> None:
        if channel != confirmed:
            raise redis.ConnectionError(f"{confirmed!r} was confirmed where {channel!r} was expected")
        self.has_confirmed = True
        # Of a channel that was left and asked for again, the last command counts.
        if (audience := self._audiences.get(channel)) and not self._under_way[channel]:
            self._confirmed.add(channel)
            audience.confirmed(self)

    def _unsubscribed(self, command: str, channel: str) -> None:
        if self._unanswered and self._unanswered[0] == (command, channel):
            self._answered()
        else:  # by itself: the node has given the slot away
            self._lose(channel)

    def _lose(self, channel: str) -> None:
        if audience := self._forget(channel):
            audience.lost()

    def _forget(self, channel: str) -> Audience | None:
        self._confirmed.discard(channel)
        return self._audiences.pop(channel, None)

    def _pong(self) -> None:
        if self._ping_sent is not None:
            self.believed_until = self._ping_sent + _BELIEVED_FOR
            self._stats.lag = time.monotonic() - self._ping_sent
            self._ping_sent = None
