"""All connections and topics of one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import Context
from typing import TYPE_CHECKING, Final, Protocol

from cache_revalidate.push.closing import Closing
from cache_revalidate.push.topic import Topic
from cache_revalidate.push.wheel import SLOT, Wheel
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cache_revalidate.push.settings import HubSettings, HubStats
    from cache_revalidate.push.subscription import Subscription
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Viewer


_LATE: Final = 1.0
"""Seconds by which a look may come late and be believed at once."""
_TURNS: Final = 8
"""Of the event loop, in which what has come is read, and reaches whom it is for."""

_READS_AT_ONCE: Final = 16
"""How many topics read at a time, so that what the app itself reads does not have to queue behind them."""


class Member(Protocol):
    """A connection, as the switchboard sees it."""

    viewer: Viewer

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """What it is told of, by name."""

    def unsubscribe(self, name: str) -> None:
        """End a subscription."""

    def beat(self, now: float) -> None:
        """Do what is due."""

    def interrupt(self) -> None:
        """End the connection at once: what is being sent is not being read."""

    def close(self, closing: Closing) -> None:
        """End the connection soon, and tell the client why."""


class Switchboard:
    """Knows who listens to what on one event loop, and looks after those who need it."""

    def __init__(self, revalidator: Revalidator, settings: HubSettings, stats: HubStats) -> None:
        self.settings: Final = settings
        self.stats: Final = stats
        self.wheel: Final[Wheel[Member]] = Wheel()
        self.sending: Final[dict[Member, float]] = {}
        """Connections whose reader makes them wait, longest first, and since when."""
        self._revalidator = revalidator
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Member, None] = {}
        self._viewers: Counter[str] = Counter()
        self._topics: dict[str, Topic] = {}
        self._turns = asyncio.Semaphore(_READS_AT_ONCE)
        self._ticker: asyncio.Task[None] | None = None
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._apps = 0
        self.is_closed = False
        """Whether no app runs any more of those that have run here."""

    def now(self) -> float:
        """Return the time by the event loop's clock, in seconds."""
        return self._loop.time()

    def tag(self, viewer: Viewer) -> str:
        """Return the tag of what a viewer sees."""
        return self._revalidator.tag(viewer)

    def topic(self, tenant: str) -> Topic:
        """Return the topic of a tenant; it is followed from now on, until the last of its subscriptions is gone."""
        topic = self._topics.get(tenant)
        if topic is None:
            topic = self._topics[tenant] = Topic(self._revalidator, tenant, self.settings, self.stats, self._turns)
            self.stats.tenants += 1
        return topic

    def leave(self, subscription: Subscription) -> None:
        """End a subscription."""
        topic = subscription.topic
        topic.leave(subscription)
        if not topic.subscriptions and self._topics.get(subscription.tenant) is topic:
            del self._topics[subscription.tenant]
            self.stats.tenants -= 1
            topic.close()

    def has_room_for(self, viewer: Viewer) -> bool:
        """Say whether a viewer may have one more connection."""
        return viewer is EVERYONE or self._viewers[viewer] < self.settings.max_per_viewer

    def has_room_in(self, tenant: str) -> bool:
        """Say whether one more connection may be told of a tenant."""
        topic = self._topics.get(tenant)
        if topic is None:
            return self.stats.tenants < self.settings.max_tenants
        return len(topic.subscriptions) < self.settings.max_per_tenant

    def add(self, connection: Member) -> None:
        """Look after a connection."""
        self._connections[connection] = None
        self._is_empty.clear()
        self.stats.connections += 1
        self.stats.opened += 1
        if connection.viewer is not EVERYONE:
            self._viewers[connection.viewer] += 1
        if self._ticker is None or self._ticker.done():
            # In a context of its own: it outlives the request that happens to begin it.
            self._ticker = self._loop.create_task(self._tick_on(), context=Context())

    def identify(self, connection: Member, viewer: Viewer) -> bool:
        """Count a connection that was opened by nobody known as that of a viewer; say whether there is room."""
        if viewer is EVERYONE or connection.viewer is not EVERYONE:
            return True
        if not self.has_room_for(viewer):
            return False
        connection.viewer = viewer
        self._viewers[viewer] += 1
        return True

    def remove(self, connection: Member) -> None:
        """Let go of a connection and its subscriptions."""
        del self._connections[connection]
        if not self._connections:
            self._is_empty.set()
        self.stats.connections -= 1
        self.wheel.discard(connection)
        for name in [*connection.subscriptions]:
            connection.unsubscribe(name)
        if connection.viewer is not EVERYONE:
            self._viewers[connection.viewer] -= 1
            if self._viewers[connection.viewer] <= 0:
                del self._viewers[connection.viewer]

    def close_all(self) -> None:
        """End all connections."""
        for connection in [*self._connections]:
            connection.close(Closing.GOING_AWAY)

    def enter(self) -> None:
        """Hear that an app begins to run here."""
        self._apps += 1
        self.is_closed = False

    async def leave_off(self, seconds: float) -> None:
        """Hear that an app ends; with the last, end all connections, and wait until they are gone, if not too long."""
        self._apps -= 1
        if self._apps > 0:
            return
        self.is_closed = True
        self.close_all()
        await self.emptied(seconds)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def emptied(self, seconds: float) -> None:
        """Wait until all connections are gone, so long at the most."""
        try:
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()
        except TimeoutError:
            pass

    async def _tick_on(self) -> None:
        while self._connections:
            due = self.now() + SLOT
            await asyncio.sleep(SLOT)
            now = self.now()
            if now - due > _LATE:  # The event loop was held up, and has yet to read what clients have sent meanwhile.
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
            for connection in _stalled(self.sending, now - self.settings.send_timeout):
                connection.interrupt()
            for connection in self.wheel.due(now):
                connection.beat(now)


def _stalled(sending: dict[Member, float], before: float) -> Iterable[Member]:
    return [connection for connection, since in sending.items() if since < before]
