"""One connection, whichever its transport: what it is told of, and what it has yet to be told."""

from __future__ import annotations

import abc
import asyncio
import logging
import random
from contextvars import copy_context
from typing import TYPE_CHECKING, ClassVar, Final

from cache_revalidate.exceptions import InvalidTenantError, Refused
from cache_revalidate.push.begun import begun
from cache_revalidate.push.closing import Closing
from cache_revalidate.push.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cache_revalidate.access import Grant
    from cache_revalidate.push.begun import Rest
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.switchboard import Switchboard
    from cache_revalidate.push.wire import Known, Update
    from cache_revalidate.types import Message, Receive, Send, Viewer

_GRACE: Final = 1.0
"""Seconds that a closed connection has for the message it is sending, and for its farewell."""

_logger = logging.getLogger("cache_revalidate")


class Connection(abc.ABC):
    """Sends what there is to be told, one message at a time, and watches what comes.

    `board` is that of its event loop, `viewer` is who opened it.
    """

    __slots__ = (
        *("_asked_at", "_beat_at", "_beat_is_due", "_board", "_context", "_dirty", "_ends_at", "_is_serving"),
        *("_limit", "_notices", "_recheck_at", "_send", "_waiter"),
        *("closing", "heard_at", "subscriptions", "viewer"),
    )

    answers_heartbeats: ClassVar[bool] = False
    """Whether a client has to answer them: one that does not is not there any more."""
    heartbeat: ClassVar[float | None] = None
    """How often there are any, in seconds, if not as the hub's settings say."""
    tells_all: ClassVar[bool] = False
    """Whether each update has all tokens, and not only those that are new."""

    def __init__(self, board: Switchboard, viewer: Viewer) -> None:
        now = board.now()
        self.viewer = viewer
        self.subscriptions: Final[dict[str, Subscription]] = {}
        self.closing: Closing | None = None
        self.heard_at = now
        self._board = board
        self._dirty: dict[Subscription, None] = {}
        self._notices: list[Message] = []  # a deque would take more room than all the rest
        self._waiter: asyncio.Future[Rest | None] | None = None
        self._context: Final = copy_context()
        self._send: Send
        self._limit = asyncio.timeout(None)
        self._is_serving = False
        self._beat_at = now + self._heartbeat
        self._beat_is_due = False
        self._asked_at = now
        self._recheck_at = now + board.settings.recheck
        self._ends_at = now + board.settings.max_age * random.uniform(0.8, 1.0)  # noqa: S311 - not all at once

    # What the topics and the board tell

    def mark(self, subscription: Subscription) -> None:
        """Hear that a subscription may have something to tell."""
        self._dirty[subscription] = None
        self._wake()

    def tell(self, subscription: Subscription, now: float) -> None:
        """Hear that a subscription has something to tell, and tell it at once if nothing else is being sent.

        Nearly all readers take a message without being waited for: to wake the connection's task for each would cost
        a third of what it costs to send. What has to wait is left to that task, so nobody waits here.
        """
        waiter = self._waiter
        # Whatever else there is to be sent, or to be asked first, has woken the task, and this has its turn then.
        if waiter is None or waiter.done() or now >= self._recheck_at:
            self.mark(subscription)
            return
        try:
            update = subscription.update()
            if update is None:
                return
            self._board.stats.updates += 1
            rest = begun(self._context, self._send, self._told(update, subscription))
        except (OSError, RuntimeError) as error:
            self._lose(error)
            waiter.set_result(None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is the connection's
            waiter.set_exception(error)
        else:
            if rest is not None:
                waiter.set_result(rest)

    def beat(self, now: float) -> None:
        """Do what is due: called about as often as there are heartbeats, and when a grant expires."""
        if self.closing is not None:
            return
        if self.answers_heartbeats and self._is_silent(now):
            self._board.stats.stalled += 1
            self.close(Closing.STALLED)
        elif now >= self._ends_at:
            self.close(Closing.OLD)
        else:
            if now >= self._beat_at:
                if self.heard_at >= self._asked_at:
                    self._asked_at = now
                self._beat_is_due = True
                self._beat_at = max(self._beat_at + self._heartbeat, now)
            self._wake()
            self._set_beat(now)

    def _is_silent(self, now: float) -> bool:
        """Say whether nothing was heard since a heartbeat that should have been answered by now.

        How long it is since anything was heard says nothing: there may have been no heartbeat to answer.
        """
        patience = self._heartbeat + self._board.settings.send_timeout
        return self.heard_at < self._asked_at < now - patience

    def close(self, closing: Closing) -> None:
        """End the connection soon, and tell the client why."""
        if self.closing is None:
            self.closing = closing
            if self._waiter is not None:
                self._wake()
            elif self._is_serving:  # It sends, or asks, and that may take long.
                self._limit.reschedule(self._board.now() + (0 if closing is Closing.GONE else _GRACE))

    def interrupt(self) -> None:
        """End the connection at once: what is being sent is not being read."""
        if self.closing is not Closing.STALLED:
            self.closing = Closing.STALLED
            self._board.stats.stalled += 1
        self._board.sending.pop(self, None)
        self._limit.reschedule(self._board.now())

    # What it does

    def subscribe(self, tenant: str, door: Door, grant: Grant, known: Known, *, name: str | None = None) -> None:
        """Tell the client of a tenant, from what it knows on; if it is told under this name already, begin anew.

        `door` is what has granted it, and what is asked again.
        """
        if self.closing is not None:
            return
        name = tenant if name is None else name
        before = self.subscriptions.get(name)
        subscription = Subscription(self, self._board.topic(tenant), name, tenant, door=door, known=known)
        subscription.grant(grant, self._board.tag(grant.viewer), self._board.now())
        self.subscriptions[name] = subscription
        subscription.topic.join(subscription, known)
        if before is not None:  # and not sooner: its topic goes on if it is the same
            self._end(before)
        self._set_beat(self._board.now())

    def unsubscribe(self, name: str) -> None:
        """End a subscription; its name is that of the tenant, if it was given no other."""
        subscription = self.subscriptions.pop(name, None)
        if subscription is not None:
            self._end(subscription)

    def _end(self, subscription: Subscription) -> None:
        self._dirty.pop(subscription, None)
        self._board.leave(subscription)

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send and receive until one end closes the connection."""
        self._send = send
        self._board.add(self)
        self._set_beat(self._board.now())
        try:
            await self._serve_until_closed(receive)
            await self._part()
        except asyncio.CancelledError:
            await self._part()
            raise
        finally:
            # Last of all: who waits until no connection is left waits for the farewells, too.
            self._board.remove(self)

    async def _serve_until_closed(self, receive: Receive) -> None:
        receiver = asyncio.get_running_loop().create_task(self._receive_until_gone(receive))
        try:
            async with self._limit:
                self._is_serving = True
                try:
                    await self._send_on()
                finally:
                    self._is_serving = False
        except TimeoutError:
            if not self._limit.expired():
                raise
        except asyncio.CancelledError:  # so a server says that it does not wait any longer; what is sent now arrives
            self.closing = self.closing or Closing.GOING_AWAY
            raise
        finally:
            self.closing = self.closing or Closing.FAILED
            # Before anything else is sent: granian closes no WebSocket that somebody receives from.
            receiver.cancel()
            await asyncio.wait({receiver})

    async def _part(self) -> None:
        if self.closing is None or self.closing is Closing.GONE:
            return
        try:
            async with asyncio.timeout(_GRACE):
                for message in self._farewell(self.closing):
                    await self._send(message)
        except (TimeoutError, OSError, RuntimeError):
            pass  # It has gone meanwhile, or reads nothing.

    async def _send_on(self) -> None:
        while self.closing is None:
            # Before anything is told: who reads slowly enough has always something to be told.
            if self._board.now() >= self._recheck_at and not self._notices:
                await self._ask_again()
            elif (message := self._next()) is not None:
                await self._send_in_time(self._send(message))
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    rest = await self._waiter
                finally:
                    self._waiter = None
                if rest is not None:
                    await self._send_in_time(rest)

    async def _send_in_time(self, rest: Awaitable[None]) -> None:
        """Have the board look after how long it takes to send."""
        now = self._board.now()
        self._board.sending[self] = now
        if self.closing is not None:
            self._limit.reschedule(now + _GRACE)
        try:
            await rest
        except (OSError, RuntimeError) as error:
            self._lose(error)
        finally:
            self._board.sending.pop(self, None)

    def _lose(self, error: Exception) -> None:
        """Take the client for gone, as servers say by an error."""
        _logger.debug("A message could not be sent: its client is taken for gone", exc_info=error)
        self.closing = Closing.GONE

    def _next(self) -> Message | None:
        """Return what is to be sent now."""
        if self._notices:
            return self._notices.pop(0)
        while self._dirty:  # Whoever has waited longest comes first.
            subscription = next(iter(self._dirty))
            del self._dirty[subscription]
            update = subscription.update()
            if update is not None:
                self._board.stats.updates += 1
                return self._told(update, subscription)
        if self._beat_is_due:
            self._beat_is_due = False
            return self._beating(is_live=all(each.topic.is_live for each in self.subscriptions.values()))
        return None

    async def _receive_until_gone(self, receive: Receive) -> None:
        try:
            await self._receive_on(receive)
        except Exception:
            _logger.exception("A connection failed while it received")
            self.close(Closing.FAILED)

    async def _ask_again(self) -> None:
        """Ask once more who may see what the client is told, and end what is refused."""
        has_refused = False
        for subscription in [*self.subscriptions.values()]:
            if not self._has(subscription):
                continue  # Its client has ended it meanwhile, or begun anew, which was asked for by itself.
            door = subscription.door
            grant = await self._asked(door, subscription.tenant) if door.lasts else None
            now = self._board.now()
            if self.closing is not None:
                return
            if not self._has(subscription):
                continue
            if grant is not None:
                subscription.grant(grant, self._board.tag(grant.viewer), now)
            elif not door.lasts and now < subscription.expires_at:
                self.close(Closing.OLD)
                return
            else:
                has_refused = True
                self._board.stats.expelled += 1
                self.unsubscribe(subscription.name)
                self._refused(subscription)
        now = self._board.now()
        self._recheck_at = now + self._board.settings.recheck
        self._set_beat(now)
        if has_refused and not self.subscriptions:
            self.close(Closing.REFUSED)

    def _has(self, subscription: Subscription) -> bool:
        return self.subscriptions.get(subscription.name) is subscription

    async def _asked(self, door: Door, tenant: str) -> Grant | None:
        try:
            async with asyncio.timeout(self._board.settings.send_timeout):
                return await door.ask(tenant)
        except (Refused, InvalidTenantError, TimeoutError):
            return None
        except Exception:  # An app whose own rules are asked answers them by itself when it can; here it is a refusal.
            _logger.exception("It could not be asked again who may see tenant %s: the caller is refused", tenant)
            return None

    def _set_beat(self, now: float) -> None:
        """Have the board call when the next heartbeat is due, or something else before."""
        expiry = min((each.expires_at for each in self.subscriptions.values()), default=self._ends_at)
        self._recheck_at = min(self._recheck_at, max(expiry, now))
        self._board.wheel.set(self, min(self._beat_at, self._recheck_at, self._ends_at))

    @property
    def _heartbeat(self) -> float:
        return self.heartbeat or self._board.settings.heartbeat

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What the transport knows

    @abc.abstractmethod
    async def _receive_on(self, receive: Receive) -> None:
        """Take what the client sends, until it has gone: then close the connection."""

    @abc.abstractmethod
    def _told(self, update: Update, subscription: Subscription) -> Message:
        """Return the message that tells of an update."""

    @abc.abstractmethod
    def _beating(self, *, is_live: bool) -> Message:
        """Return a heartbeat."""

    @abc.abstractmethod
    def _refused(self, subscription: Subscription) -> None:
        """Tell the client that it may not see a tenant any longer."""

    @abc.abstractmethod
    def _farewell(self, closing: Closing) -> list[Message]:
        """Return the messages that end the connection."""
