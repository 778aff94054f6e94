"""What the endpoints of push answer, as types: for frameworks that describe an API by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cache_revalidate.push.wire import DEFAULT_EVENT


@dataclass
class CacheInvalidated:
    """The data of an event that tells of new tokens."""

    account_id: int | str
    """The tenant."""

    cache_keys: dict[str, str]
    """The new tokens by model: in the first event those that differ from what was shown, be it none."""

    tag: str
    """Changes when all that this client holds is stale, whatever the tokens say."""

    jitter_ms: int
    """Over how many milliseconds clients should spread what they fetch upon this event."""

    full: bool = False
    """In the first event: whether it has all tokens, and whatever else is held is to be forgotten."""

    models: list[str] = field(default_factory=list)
    """In the first event: all models that there are."""


@dataclass
class Ticket:
    """What lets one in where no header can be set."""

    ticket: str
    """To be shown in the query."""

    expires_in: int
    """For how many seconds it is good."""


EXAMPLE: Final = (
    "retry: 2740\n\n"
    f"event: {DEFAULT_EVENT}\n"
    'id: *tag="3f2a", inbox="1795000000000001", label="1795000000000007"\n'
    'data: {"account_id":1,"cache_keys":{"inbox":"1795000000000001","label":"1795000000000007"},"tag":"3f2a",'
    '"full":true,"models":["inbox","label"],"jitter_ms":0}\n\n'
    "event: heartbeat\n"
    'data: {"live":true}\n\n'
)
"""The beginning of a stream."""

KNOWN: Final = (
    "The id of the newest event that was seen, where it can't be sent as Last-Event-ID: an EventSource made anew."
)
SHOWN_TICKET: Final = "A ticket, where the request can't be authenticated otherwise."
LAST_EVENT_ID: Final = (
    "The id of the newest event that was seen: only what differs is sent. An EventSource sends it by itself."
)
PROBLEMS: Final = {
    401: "Nobody is signed in",
    403: "The caller may not see this tenant, or pages of this origin may not listen",
    404: "There can be no such tenant",
    429: "The caller, or the tenant, has as many connections as may be",
    503: "This server holds as many connections as it can, or goes away",
}
"""Why a stream is not opened, by status."""
