"""The way out: an app runs for a request, and its answer is marked while it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache_revalidate.answer import not_modified
from cache_revalidate.exchange import SCOPE_KEY

if TYPE_CHECKING:
    from cache_revalidate.exchange import Exchange
    from cache_revalidate.types import ASGIApp, Message, Receive, Scope, Send

# What an answer's body is sent as; the latter by servers that take a file's path.
_PARTS: Final = frozenset(("http.response.body", "http.response.pathsend"))


async def run_marked(exchange: Exchange, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Have the app answer, and mark its answer on the way out."""
    outer = scope.get(SCOPE_KEY)
    if outer is exchange:
        await app(scope, receive, send)
        return
    # In the scope itself, not in a copy: what is further out may look there for what the app puts into it, as
    # Litestar's before_send hooks do, one of which commits the database session that it finds there. Taken back
    # afterwards, for whoever runs the app again with this scope.
    scope[SCOPE_KEY] = exchange
    try:
        with exchange.recorded():
            await app(scope, receive, _Outgoing(exchange, send).send)
    finally:
        scope[SCOPE_KEY] = outer


class _Outgoing:
    """Sends the app's messages on, its first one marked; never holds back a body."""

    __slots__ = ("_drops_body", "_exchange", "_send")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._drops_body = False

    async def send(self, message: Message) -> None:
        """Send a message of the app's on."""
        if message["type"] == "http.response.start":
            status, exchange = message["status"], self._exchange
            headers = exchange.marked(status, message.get("headers", ()))
            if not exchange.is_safe:
                headers = await exchange.naming_minted(headers)
            if exchange.holds(status, headers):
                self._drops_body = True
                kept = [header for header in headers if not _describes_content(header[0])]
                await not_modified(kept).send(self._send, method=exchange.method)
            else:
                await self._send({**message, "headers": headers})
            return
        if not self._drops_body:
            await self._send(message)
        if message["type"] in _PARTS and not message.get("more_body", False):
            self._exchange.complete()


def _describes_content(name: bytes) -> bool:
    return name.startswith(b"content-") and name != b"content-location"
