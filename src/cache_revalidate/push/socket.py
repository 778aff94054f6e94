"""WebSockets: the tokens of several tenants, each of them asked for, over one connection (RFC 6455)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cache_revalidate.answer import Answer
from cache_revalidate.exceptions import InvalidTenantError, Refused
from cache_revalidate.push.closing import Closing
from cache_revalidate.push.connection import Connection
from cache_revalidate.push.endpoint import PushEndpoint
from cache_revalidate.push.wire import HEARTBEAT, account_id, known_of_json, socket_message

if TYPE_CHECKING:
    from cache_revalidate.access import Grant
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.endpoint import Entry
    from cache_revalidate.push.subscription import Subscription
    from cache_revalidate.push.wire import Update
    from cache_revalidate.types import Message, Receive, Scope, Send

_HEARTBEATS: Final = {is_live: socket_message(HEARTBEAT, {"live": is_live}) for is_live in (False, True)}


class SocketEndpoint(PushEndpoint):
    """Serves WebSockets to who may see the path's tenant."""

    async def run(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a caller who may see the tenant; refuse others before the connection is accepted."""
        if (await receive())["type"] != "websocket.connect":
            return
        entry = await self._entry(door, scope)
        if isinstance(entry, Answer):
            await deny(entry, scope, send)
        else:
            await Socket(entry, self._hub.models).serve(receive, send)


class MessageConnection(Connection):
    """A WebSocket whose client may send: not too much, and not too often."""

    __slots__ = ("_allowed", "_allowed_at")

    def __init__(self, entry: Entry, subprotocol: str | None = None) -> None:
        super().__init__(entry.board, entry.door, entry.grant.viewer)
        self._allowed = _BURST * self._board.settings.max_messages
        self._allowed_at = self._board.now()
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
        self._allowed = min(_BURST * rate, self._allowed + rate * (now - self._allowed_at)) - 1
        self._allowed_at = now
        return self._allowed >= 0

    def _fail(self, closing: Closing, detail: str) -> None:
        """Say what is wrong, and end the connection."""
        raise NotImplementedError

    def _say(self, text: str) -> None:
        self._notices.append(text_message(text))
        self._wake()

    def _has_room_for(self, tenant: str) -> bool:
        if tenant in self.subscriptions:
            return True
        return len(self.subscriptions) < self._board.settings.max_subscriptions and self._board.has_room_in(tenant)


_BURST: Final = 10.0
"""For how many seconds' worth of messages may come at once."""


class Socket(MessageConnection):
    """One WebSocket of ours."""

    __slots__ = ("_grant", "_models", "_tenant")

    answers_heartbeats: ClassVar[bool] = True

    def __init__(self, entry: Entry, models: tuple[str, ...]) -> None:
        super().__init__(entry)
        self._grant: Grant | None = entry.grant
        self._tenant = entry.tenant
        self._models = models

    async def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "pong"}:
                pass  # That it came is all it says.
            case {"type": "subscribe"}:
                await self._subscribe(message)
            case {"type": "unsubscribe"}:
                try:
                    self.unsubscribe(self._named(message))
                except InvalidTenantError as error:
                    self._fail(Closing.MISUNDERSTOOD, str(error))
            case _:
                self._fail(Closing.MISUNDERSTOOD, 'The "type" is "subscribe", "unsubscribe" or "pong".')

    async def _subscribe(self, message: dict[str, Any]) -> None:
        try:
            tenant = self._named(message)
            if not self._has_room_for(tenant):
                self._fail(Closing.TOO_MANY, "More subscriptions than are taken.")
                return
            # Whom the path's tenant has let in has just been asked for.
            grant, self._grant = self._grant if tenant == self._tenant else None, None
            self.subscribe(
                tenant, grant or await self.door.ask(tenant), known_of_json(message.get("known"), self._models)
            )
        except InvalidTenantError as error:
            self._fail(Closing.MISUNDERSTOOD, str(error))
        except Refused:
            self._refused(tenant)

    def _named(self, message: dict[str, Any]) -> str:
        return self.door.named(message["account_id"]) if "account_id" in message else self._tenant

    def _told(self, update: Update, subscription: Subscription) -> Message:  # noqa: ARG002
        return text_message(update.text)

    def _beating(self, *, is_live: bool) -> Message:
        return text_message(_HEARTBEATS[is_live])

    def _refused(self, tenant: str) -> None:
        self._say(socket_message("refused", {"account_id": account_id(tenant)}))

    def _fail(self, closing: Closing, detail: str) -> None:
        self._say(socket_message("error", {"code": closing.code, "detail": detail}))
        self.close(closing)

    def _farewell(self, closing: Closing) -> list[Message]:
        return [*self._notices, {"type": "websocket.close", "code": closing.code, "reason": closing.reason}]


def text_message(text: str) -> Message:
    """Return a text as an ASGI message."""
    return {"type": "websocket.send", "text": text}


async def deny(answer: Answer, scope: Scope, send: Send) -> None:
    """Refuse a WebSocket before it is accepted: with an answer, where the server can send one, else by a plain 403."""
    if "websocket.http.response" in scope.get("extensions", {}):
        start, body = answer.messages("GET")
        await send({**start, "type": "websocket.http.response.start"})
        await send({**body, "type": "websocket.http.response.body"})
    else:
        await send({"type": "websocket.close", "code": Closing.REFUSED.code, "reason": ""})
