"""ActionCable's protocol, so that a client built on `@rails/actioncable` works as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from cache_revalidate.answer import problem
from cache_revalidate.exceptions import InvalidTenantError, Refused
from cache_revalidate.push.closing import Closing
from cache_revalidate.push.messages import MessageConnection, close_message, deny, text_message
from cache_revalidate.push.wire import NOTHING_KNOWN
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache_revalidate.access import Grant
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.push.subscription import Subscription
    from cache_revalidate.push.switchboard import Switchboard
    from cache_revalidate.push.wire import Update
    from cache_revalidate.types import Message, Receive, Scope, Send

MakeDoor: TypeAlias = "Callable[[Scope], Door]"

DEFAULT_CABLE_PATH: Final = "/cable"
SUBPROTOCOL: Final = "actioncable-v1-json"
IDENTIFIER_KEY: Final = "cache_revalidate.identifier"
"""Where `authorize` finds in the scope what a client subscribes to, `{"channel": "RoomChannel", …}`."""

_PINGS: Final = 3.0
"""Seconds between pings: a client that hears nothing for six takes the connection for dead."""

_UNSUBSCRIBED: Final = 10.0
"""Seconds for which a connection may be told of nothing: whoever opens one has not said yet who they are."""

_LONGEST_IDENTIFIER: Final = 2048

_REASONS: Final = {
    Closing.GOING_AWAY: ("server_restart", True),
    Closing.OLD: ("server_restart", True),
    Closing.STALLED: ("server_restart", True),
    Closing.TOO_MANY: ("server_restart", True),
    Closing.FAILED: ("server_restart", True),
    Closing.REFUSED: ("unauthorized", False),
}
"""What a `disconnect` says, and whether the client is to come again."""


class CableEndpoint:
    """Serves WebSockets that ask for ActionCable's subprotocol; `parameter` is the tenant's name in identifiers.

    A client says what it subscribes to when it is connected, and not before: so it is then that `authorize` is asked,
    who finds the identifier in the scope, for apps whose clients show a token there.
    """

    def __init__(self, hub: Hub, parameter: str) -> None:
        self._hub = hub
        self._parameter = parameter

    async def run(self, make_door: MakeDoor, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve whoever connects from an origin that may; what is told to whom, each subscription decides."""
        if (await receive())["type"] != "websocket.connect":
            return
        if not self._hub.admits(scope):
            await deny(problem(403, "Pages of this origin may not listen here."), scope, send)
            return
        board = self._hub.board()
        if lack := self._hub.lack(board, "", EVERYONE):
            await deny(problem(lack.status, lack.detail, (b"retry-after", b"5")), scope, send)
            return

        def door(identifier: Mapping[str, object]) -> Door:
            return make_door({**scope, IDENTIFIER_KEY: identifier}).with_ticket(self._hub.tickets, scope)

        await Cable(board, door, self._parameter).serve(receive, send)


class Cable(MessageConnection):
    """One connection of an ActionCable client."""

    __slots__ = ("_idle_since", "_make_door", "_parameter")

    heartbeat: ClassVar[float | None] = _PINGS
    tells_all: ClassVar[bool] = True  # Chatwoot's client takes a key that is left out for a new one

    def __init__(self, board: Switchboard, make_door: Callable[[Mapping[str, object]], Door], parameter: str) -> None:
        super().__init__(board, EVERYONE, SUBPROTOCOL)
        self._make_door = make_door
        self._parameter = parameter
        self._idle_since = board.now()
        self._say(_dumps({"type": "welcome"}))

    def beat(self, now: float) -> None:
        """End a connection that nothing is told over; else do as others do."""
        if self.subscriptions:
            self._idle_since = now
        if now - self._idle_since > _UNSUBSCRIBED:
            self.close(Closing.REFUSED)
        else:
            super().beat(now)

    async def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"command": "subscribe", "identifier": str(identifier)} if len(identifier) <= _LONGEST_IDENTIFIER:
                await self._subscribe(identifier)
            case {"command": "unsubscribe", "identifier": str(identifier)}:
                self.unsubscribe(identifier)
            case {"command": "message", "identifier": str()} | {"type": "pong"}:
                pass  # A channel's actions: there are none here, and clients that have some go on to call them.
            case _:
                self._fail(Closing.MISUNDERSTOOD, "There is no such command.")

    async def _subscribe(self, identifier: str) -> None:
        parameters = _parameters(identifier)
        door = self._make_door(parameters)
        try:
            tenant, grant = await self._entered(door, parameters)
        except (InvalidTenantError, Refused):
            self.unsubscribe(identifier)
            self._reject(identifier)
            return
        # A client that is rejected does not ask again; one that is sent away comes back, when there may be room.
        if not (self._has_room_for(identifier, tenant) and self._board.identify(self, grant.viewer)):
            self.close(Closing.TOO_MANY)
            return
        self._say(_dumps({"identifier": identifier, "type": "confirm_subscription"}))
        self.subscribe(tenant, door, grant, NOTHING_KNOWN, name=identifier)

    async def _entered(self, door: Door, parameters: Mapping[str, object]) -> tuple[str, Grant]:
        """Return the tenant and who asks; raise `InvalidTenantError` or `Refused`."""
        if parameters.get("channel") != self._board.settings.channel:
            raise Refused
        tenant = door.named(parameters.get(self._parameter))
        grant = await self._asked(door, tenant)
        if grant is None:
            raise Refused
        return tenant, grant

    def _told(self, update: Update, subscription: Subscription) -> Message:
        return text_message(f'{{"identifier":{_dumps(subscription.name)},"message":{update.text}}}')

    def _beating(self, *, is_live: bool) -> Message:  # noqa: ARG002
        return text_message(_dumps({"type": "ping", "message": int(time.time())}))

    def _refused(self, subscription: Subscription) -> None:
        self._reject(subscription.name)

    def _reject(self, identifier: str) -> None:
        self._say(_dumps({"identifier": identifier, "type": "reject_subscription"}))

    def _fail(self, closing: Closing, detail: str) -> None:  # noqa: ARG002
        self.close(closing)

    def _farewell(self, closing: Closing) -> list[Message]:
        reason, comes_again = _REASONS.get(closing, ("invalid_request", False))
        parting = text_message(_dumps({"type": "disconnect", "reason": reason, "reconnect": comes_again}))
        return [*self._notices, parting, close_message(closing)]


def _parameters(identifier: str) -> Mapping[str, object]:
    """Return what an identifier says; nothing if it is no JSON object."""
    try:
        parameters = json.loads(identifier)
    except (ValueError, RecursionError):
        return {}
    return parameters if isinstance(parameters, dict) else {}


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
