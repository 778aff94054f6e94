"""What all endpoints of push do first: find out whether a caller may come in, and whether there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from cache_revalidate.answer import Answer, problem
from cache_revalidate.endpoints import refusal
from cache_revalidate.exceptions import InvalidTenantError, Refused
from cache_revalidate.push.door import query_value

if TYPE_CHECKING:
    from cache_revalidate.access import Grant
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.push.switchboard import Switchboard
    from cache_revalidate.types import Receive, Scope, Send


class Entry(NamedTuple):
    """A caller who was let in."""

    board: Switchboard
    door: Door
    tenant: str
    grant: Grant


class PushEndpoint:
    """One of the endpoints of a hub."""

    name: ClassVar[str]
    """What routes to it are called, where a framework has names for them."""
    takes_tickets: ClassVar[bool] = True
    """Whether a ticket in the query lets a caller in."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def decides_alone(self, scope: Scope) -> bool:
        """Say whether nobody has to be asked who calls: their origin may not, whoever it is, or they show a ticket."""
        shows_ticket = self.takes_tickets and self._hub.tickets is not None and query_value(scope, "ticket") is not None
        return shows_ticket or not self._hub.allows(scope)

    async def run(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket, whoever it is that asks."""
        raise NotImplementedError

    async def _entry(self, door: Door, scope: Scope) -> Answer | Entry:
        """Let a caller in; else return what he is answered, as by the keys endpoint if he may not see the tenant."""
        if not self._hub.admits(scope):
            return problem(403, "Pages of this origin may not listen here.")
        door = door.with_ticket(self._hub.tickets, scope)
        try:
            tenant = door.of_path()
            grant = await door.ask(tenant)
        except (InvalidTenantError, Refused) as refused:
            return refusal(refused)
        board = self._hub.board()
        if lack := self._hub.lack(board, tenant, grant.viewer):
            return problem(lack.status, lack.detail, (b"retry-after", b"5"))
        return Entry(board, door, tenant, grant)
