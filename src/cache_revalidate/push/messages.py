"""WebSockets as such: what may come over them, and how they begin and end (RFC 6455)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cache_revalidate.push.closing import Closing
from cache_revalidate.push.connection import Connection

if TYPE_CHECKING:
    from cache_revalidate.answer import Answer
    from cache_revalidate.push.switchboard import Switchboard
    from cache_revalidate.types import Message, Receive, Scope, Send, Viewer

_BURST: Final = 10.0
"""For how many seconds' worth of messages may come at once, if not as many as there may be subscriptions."""


class MessageConnection(Connection):
    """A WebSocket whose client may send: not too much, and not too often."""

    __slots__ = ("_allowed", "_allowed_at")

    def __init__(self, board: Switchboard, viewer: Viewer, subprotocol: str | None = None) -> None:
        super().__init__(board, viewer)
        self._allowed = self._most_at_once()
        self._allowed_at = board.now()
        accepted: Message = {"type": "websocket.accept"}
        if subprotocol is not None:
            accepted["subprotocol"] = subprotocol
        self._notices.append(accepted)

    async def _receive_on(self, receive: Receive) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            if self.closing is not None:
                continue  # What comes now is too late, and its end is waited for.
            text = message.get("text")
            self.heard_at = self._board.now()
            if not self._may_send():
                self._fail(Closing.TOO_MANY, "More messages than are taken: wait a little between them.")
            elif len(text if text is not None else message.get("bytes") or b"") > self._board.settings.max_message:
                self._fail(Closing.TOO_LARGE, f"Send {self._board.settings.max_message} characters at the most.")
            elif text is None:
                self._fail(Closing.MISUNDERSTOOD, "Send text, not bytes.")
            else:
                await self._take_text(text)
        self.close(Closing.GONE)

    async def _take_text(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            self._fail(Closing.MISUNDERSTOOD, "Send JSON.")
            return
        if isinstance(message, dict):
            await self._take(message)
        else:
            self._fail(Closing.MISUNDERSTOOD, "Send a JSON object.")

    async def _take(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def _may_send(self) -> bool:
        now, rate = self._board.now(), self._board.settings.max_messages
        self._allowed = min(self._most_at_once(), self._allowed + rate * (now - self._allowed_at)) - 1
        self._allowed_at = now
        return self._allowed >= 0

    def _most_at_once(self) -> float:
        settings = self._board.settings
        return max(_BURST * settings.max_messages, settings.max_subscriptions + 1.0)

    def _fail(self, closing: Closing, detail: str) -> None:
        """Say what is wrong, and end the connection."""
        raise NotImplementedError

    def _say(self, text: str) -> None:
        self._notices.append(text_message(text))
        self._wake()

    def _has_room_for(self, name: str, tenant: str) -> bool:
        if name in self.subscriptions:
            return True
        return len(self.subscriptions) < self._board.settings.max_subscriptions and self._board.has_room_in(tenant)


def text_message(text: str) -> Message:
    """Return a text as an ASGI message."""
    return {"type": "websocket.send", "text": text}


def close_message(closing: Closing) -> Message:
    """Return what closes a WebSocket, and says why."""
    return {"type": "websocket.close", "code": closing.code, "reason": closing.reason}


async def deny(answer: Answer, scope: Scope, send: Send) -> None:
    """Refuse a WebSocket before it is accepted: with an answer, where the server can send one, else by a plain 403."""
    if "websocket.http.response" in (scope.get("extensions") or ()):
        start, body = answer.messages("GET")
        await send({**start, "type": "websocket.http.response.start"})
        await send({**body, "type": "websocket.http.response.body"})
    else:
        await send({"type": "websocket.close", "code": Closing.REFUSED.code, "reason": ""})
