"""One connection's share in one topic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from cache_revalidate.push.wire import NOTHING_KNOWN

if TYPE_CHECKING:
    from cache_revalidate.access import Grant
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.topic import Topic
    from cache_revalidate.push.wire import Known, Update


class Owner(Protocol):
    """A connection, as its subscriptions see it."""

    @property
    def tells_all(self) -> bool:
        """Whether each update has all tokens, and not only those that are new."""

    def mark(self, subscription: Subscription) -> None:
        """Hear that a subscription may have something to tell."""

    def tell(self, subscription: Subscription, now: float) -> None:
        """Hear the same, and tell it at once if possible."""


class Subscription:
    """One connection's share in one topic: up to which change it was told. The connection calls it by its `name`."""

    __slots__ = ("_has_begun", "_number", "_owner", "door", "expires_at", "known", "name", "tag", "tenant", "topic")

    def __init__(self, owner: Owner, topic: Topic, name: str, tenant: str, *, door: Door, known: Known) -> None:
        self._owner: Final = owner
        self.topic: Final = topic
        self.name: Final = name
        self.tenant: Final = tenant
        self.door: Final = door
        self.known = known
        self.tag = ""
        self.expires_at = 0.0
        self._has_begun = False
        self._number = -1

    def grant(self, grant: Grant, tag: str, now: float) -> None:
        """Take note of until when the tenant may be seen, by the event loop's clock; with another tag, begin anew."""
        if self.tag and tag != self.tag:
            self._number = -1
            if self._has_begun:
                self._owner.mark(self)
        self.tag, self.expires_at = tag, now + (grant.expires_at - time.time())

    def begin(self) -> None:
        """Hear that the topic knows what is current."""
        self._has_begun = True
        self._owner.mark(self)

    def tell(self, now: float) -> None:
        """Hear that the topic has news; `now` is the time by the event loop's clock."""
        if self._has_begun:
            self._owner.tell(self, now)

    def update(self) -> Update | None:
        """Return what is to be told now, if anything is."""
        if self._number == self.topic.number:
            return None
        if self._number >= 0:
            tell = self.topic.all_since if self._owner.tells_all else self.topic.since
            self._number, update = tell(self._number, self.tag)
            return update
        self._number, first = self.topic.first(self.tag, self.known)
        self.known = NOTHING_KNOWN
        return first
