"""WebSockets: the tokens of several tenants, each of them asked for, over one connection (RFC 6455)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from cache_revalidate.answer import Answer
from cache_revalidate.exceptions import InvalidTenantError
from cache_revalidate.push.closing import Closing
from cache_revalidate.push.endpoint import PushEndpoint
from cache_revalidate.push.messages import MessageConnection, close_message, deny, text_message
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

    name: ClassVar[str] = "cache_socket"

    async def run(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a caller who may see the tenant; refuse others before the connection is accepted."""
        if (await receive())["type"] != "websocket.connect":
            return
        entry = await self._entry(door, scope)
        if isinstance(entry, Answer):
            await deny(entry, scope, send)
        else:
            await Socket(entry, self._hub.models).serve(receive, send)


class Socket(MessageConnection):
    """One WebSocket of ours."""

    __slots__ = ("_door", "_grant", "_models", "_tenant")

    answers_heartbeats: ClassVar[bool] = True

    def __init__(self, entry: Entry, models: tuple[str, ...]) -> None:
        super().__init__(entry.board, entry.grant.viewer)
        self._door = entry.door
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
        except InvalidTenantError as error:
            self._fail(Closing.MISUNDERSTOOD, str(error))
            return
        # Whom the path's tenant has let in has just been asked for.
        grant, self._grant = self._grant if tenant == self._tenant else None, None
        grant = grant or await self._asked(self._door, tenant)
        if grant is None:
            self.unsubscribe(tenant)
            self._say_refused(tenant)
        elif self._has_room_for(tenant, tenant):  # Nobody else is told whether there is.
            self.subscribe(tenant, self._door, grant, known_of_json(message.get("known"), self._models))
        else:
            self._fail(Closing.TOO_MANY, "More subscriptions than are taken.")

    async def _ask_again(self) -> None:
        self._grant = None
        await super()._ask_again()

    def _named(self, message: dict[str, Any]) -> str:
        return self._door.named(message["account_id"]) if "account_id" in message else self._tenant

    def _told(self, update: Update, subscription: Subscription) -> Message:  # noqa: ARG002
        return text_message(update.text)

    def _beating(self, *, is_live: bool) -> Message:
        return text_message(_HEARTBEATS[is_live])

    def _refused(self, subscription: Subscription) -> None:
        self._say_refused(subscription.tenant)

    def _say_refused(self, tenant: str) -> None:
        self._say(socket_message("refused", {"account_id": account_id(tenant)}))

    def _fail(self, closing: Closing, detail: str) -> None:
        self._say(socket_message("error", {"code": closing.code, "detail": detail}))
        self.close(closing)

    def _farewell(self, closing: Closing) -> list[Message]:
        return [*self._notices, close_message(closing)]
