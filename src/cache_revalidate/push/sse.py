"""Server-sent events: the stream of one tenant's tokens (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar, Final

from cache_revalidate.answer import Answer, problem
from cache_revalidate.http.headers import joined
from cache_revalidate.http.vary import vary_names
from cache_revalidate.policy import DEFAULT_VARY
from cache_revalidate.push.closing import Closing
from cache_revalidate.push.connection import Connection
from cache_revalidate.push.door import query_value
from cache_revalidate.push.endpoint import PushEndpoint
from cache_revalidate.push.wire import HEARTBEAT, NOTHING_KNOWN, known_of_field, sse_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.push.door import Door
    from cache_revalidate.push.endpoint import Entry
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.push.subscription import Subscription
    from cache_revalidate.push.wire import Known, Update
    from cache_revalidate.types import HeaderList, Message, Receive, Scope, Send

# Compressed, and held back until there is enough of it, an event would come late; the second is for nginx.
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)

_SOON: Final = 100
"""After how many milliseconds who is sent away for his connection's age alone may come again."""

_HEARTBEATS: Final = {is_live: sse_event(HEARTBEAT, {"live": is_live}) for is_live in (False, True)}


class EventsEndpoint(PushEndpoint):
    """Answers with a stream of events; `vary` names the request headers that tell two viewers apart."""

    name: ClassVar[str] = "cache_events"

    def __init__(self, hub: Hub, *, vary: Iterable[str] = DEFAULT_VARY) -> None:
        super().__init__(hub)
        self._headers: HeaderList = [*_HEADERS]
        if members := vary_names(vary):
            self._headers.append((b"vary", b", ".join(members)))

    async def run(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to who may see the tenant, until one of us ends it; answer others as the keys endpoint does."""
        answer = await self._opened(door, scope)
        if isinstance(answer, Answer):
            await answer.send(send, method=scope["method"])
        else:
            await answer.serve(receive, send)

    async def _opened(self, door: Door, scope: Scope) -> Answer | EventStream:
        if scope["method"] != "GET":
            return problem(405, "The stream of events can only be read.", (b"allow", b"GET"))
        entry = await self._entry(door, scope)
        if isinstance(entry, Answer):
            return entry
        stream = EventStream(entry, self._headers)
        stream.subscribe(entry.tenant, entry.door, entry.grant, self._known(scope))
        return stream

    def _known(self, scope: Scope) -> Known:
        """Return what the client shows: an EventSource that connects again says it by itself, and knows best."""
        field = joined(scope["headers"], b"last-event-id")
        if field is None and (known := query_value(scope, "known")) is not None:
            field = known.encode("latin-1", "replace")
        return NOTHING_KNOWN if field is None else known_of_field(field, self._hub.models)


class EventStream(Connection):
    """One answer that does not end."""

    __slots__ = ()

    def __init__(self, entry: Entry, headers: HeaderList) -> None:
        super().__init__(entry.board, entry.grant.viewer)
        least, most = entry.board.settings.retry
        self._notices.append({"type": "http.response.start", "status": 200, "headers": [*headers]})
        self._notices.append(_part(_retry(1_000 * random.uniform(least, most))))  # noqa: S311 - that not all come at once

    async def _receive_on(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.close(Closing.GONE)

    def _told(self, update: Update, subscription: Subscription) -> Message:  # noqa: ARG002
        return _part(update.sse)

    def _beating(self, *, is_live: bool) -> Message:
        return _part(_HEARTBEATS[is_live])

    def _refused(self, subscription: Subscription) -> None:
        """Say nothing: the stream ends, and its farewell says why."""

    def _farewell(self, closing: Closing) -> list[Message]:
        if closing is Closing.STALLED:  # Nobody reads it.
            return [{"type": "http.response.body", "body": b"", "more_body": False}]
        words = sse_event("closed", {"code": closing.code, "reason": closing.reason})
        if closing is Closing.OLD:
            words = _retry(_SOON * random.uniform(1, 2)) + words  # noqa: S311
        return [{"type": "http.response.body", "body": words, "more_body": False}]


def _retry(milliseconds: float) -> bytes:
    return b"retry: %d\n\n" % milliseconds


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
