"""How a hub works, and what it has counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.push.wheel import SLOT
from cache_revalidate.push.wire import DEFAULT_EVENT, HEARTBEAT

_DAY: Final = 86_400.0
_LONGEST_NAME: Final = 128
_RESERVED: Final = frozenset((HEARTBEAT, "closed", "refused", "error", "open"))
"""What our other events go by, and those that an EventSource has of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """How a hub works; times are in seconds. Raises `ConfigurationError` if something could not work."""

    event: str = DEFAULT_EVENT
    """The name of the event that tells of new tokens."""
    channel: str = "RoomChannel"
    """The channel that ActionCable's clients subscribe to."""
    heartbeat: float = 15.0
    """How often each connection is sent a heartbeat, so that both ends, and what is between, know that it lives."""
    retry: tuple[float, float] = (1.0, 5.0)
    """How long an EventSource is told to wait before it connects again: anything between the two, at random."""
    send_timeout: float = 10.0
    """How long one message may wait for a reader that does not read, before its connection is closed."""
    max_age: float = 3600.0
    """How long a connection lives, about: no longer than this, and at least four fifths of it."""
    recheck: float = 60.0
    """How often it is asked anew whether a connection may see what it is told."""
    reread: float = 30.0
    """How often the tokens are read although the store tells of each change: so what it failed to tell is found."""
    poll: float = 1.0
    """How often they are read where the store tells of no changes, or can't at present."""
    spread: float = 0.001
    """The `jitter_ms` of an event, for each of the connections in this process that are told: a list whose clients all
    refetch it at random moments within that time is asked for a thousand times a second, say."""
    max_spread: float = 10.0
    """The largest `jitter_ms`, in seconds."""
    max_connections: int = 20_000
    """How many connections one process holds."""
    max_tenants: int = 20_000
    """How many tenants these may be told of."""
    max_per_tenant: int = 10_000
    """How many of them may be told of one tenant."""
    max_per_viewer: int = 100
    """How many of them one viewer may have; `EVERYONE` is none."""
    max_subscriptions: int = 100
    """How many tenants one WebSocket may be told of."""
    max_message: int = 16 * 1024
    """The longest message of a client, in characters."""
    max_messages: float = 5.0
    """How many messages a second a client may send for long; ten seconds' worth may come at once, or as many as
    there may be subscriptions: so many a client sends when it connects."""

    def __post_init__(self) -> None:
        """Check everything."""
        _check_names(self.event, self.channel)
        for option in ("heartbeat", "send_timeout", "max_age", "recheck", "reread", "poll"):
            _check(option, getattr(self, option))
        for option in ("spread", "max_spread"):
            _check(option, getattr(self, option), may_be_zero=True)
        for option in (
            "max_connections",
            "max_tenants",
            "max_per_tenant",
            "max_per_viewer",
            "max_subscriptions",
            "max_message",
        ):
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{option} {value!r} is not a number from 1 on.")
        _check("max_messages", self.max_messages)
        if self.max_messages * max(self.heartbeat, SLOT) < 1:
            raise ConfigurationError(
                f"max_messages {self.max_messages!r} a second are fewer than the answers to a heartbeat every "
                f"{self.heartbeat:g} s."
            )
        if not isinstance(self.retry, tuple) or len(self.retry) != 2:  # noqa: PLR2004
            raise ConfigurationError(f"retry {self.retry!r} is not two numbers of seconds: retry=(1.0, 5.0), say.")
        for seconds in self.retry:
            _check("retry", seconds)
        if self.retry[0] > self.retry[1]:
            raise ConfigurationError(f"retry {self.retry!r} has the larger number first.")

    def jitter(self, listeners: int) -> int:
        """Return over how many milliseconds so many clients should spread what they ask for at an event."""
        return round(min(self.max_spread, self.spread * listeners) * 1_000)


@dataclass(slots=True)
class HubStats:
    """What a hub has counted since it was made, of all event loops."""

    connections: int = 0
    """Connections that are open now."""
    tenants: int = 0
    """Tenants that they are told of."""
    opened: int = 0
    """Connections that were opened."""
    refused: int = 0
    """Connections that were not: beyond a limit, of a foreign origin, or while the hub was closed."""
    changes: int = 0
    """Changes of a tenant's tokens that were told to whoever listened."""
    updates: int = 0
    """Events with tokens that were sent; a heartbeat is none."""
    stalled: int = 0
    """Connections that were closed because their reader did not read, or did not answer."""
    expelled: int = 0
    """Connections or subscriptions that were ended because `authorize` refused when it was asked again."""


def _check_names(event: object, channel: object) -> None:
    is_name = isinstance(event, str) and 0 < len(event) <= _LONGEST_NAME and event.isascii() and event.isprintable()
    if not is_name:
        raise ConfigurationError(
            f"event {event!r:.60} can't be an event's name: use printable ASCII, {DEFAULT_EVENT} say."
        )
    if event in _RESERVED:
        raise ConfigurationError(f"event {event!r} is the name of another event: {DEFAULT_EVENT} is none.")
    if not isinstance(channel, str) or not channel:
        raise ConfigurationError(f"channel {channel!r:.60} is not the name of a channel: RoomChannel is one.")


def _check(option: str, value: object, *, may_be_zero: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (_is_time(value) or (may_be_zero and value == 0)):
        least = "from 0" if may_be_zero else "above 0,"
        raise ConfigurationError(f"{option} {value!r} is not a number {least} up to {_DAY:g}.")


def _is_time(seconds: Any) -> bool:
    return bool(0 < seconds <= _DAY)
