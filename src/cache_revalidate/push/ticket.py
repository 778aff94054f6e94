"""The ticket endpoint: gives a caller who may see a tenant a ticket, to show where no header can be set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from cache_revalidate.answer import Answer, problem
from cache_revalidate.endpoints import refusal
from cache_revalidate.exceptions import InvalidTenantError, Refused
from cache_revalidate.push.endpoint import PushEndpoint

if TYPE_CHECKING:
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.tickets import Tickets
    from cache_revalidate.types import Receive, Scope, Send


class TicketEndpoint(PushEndpoint):
    """Answers a POST with `{"ticket": "…", "expires_in": 30}`, in seconds."""

    name: ClassVar[str] = "cache_ticket"
    takes_tickets: ClassVar[bool] = False

    def __init__(self, hub: Hub, tickets: Tickets) -> None:
        super().__init__(hub)
        self._tickets = tickets

    async def run(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer as the keys endpoint does where there is no ticket to be had."""
        await (await self.answer(door, scope)).send(send, method=scope["method"])

    async def answer(self, door: Door, scope: Scope) -> Answer:
        """Return the answer."""
        if scope["method"] != "POST":
            return problem(405, "Ask for a ticket by POST.", (b"allow", b"POST"))
        if not self._hub.admits(scope):
            return problem(403, "Pages of this origin may not listen here.")
        try:
            tenant = door.of_path()
            ticket = self._tickets.issue(tenant, await door.ask(tenant))
        except (InvalidTenantError, Refused) as refused:
            return refusal(refused)
        body = json.dumps({"ticket": ticket, "expires_in": round(self._tickets.lifetime)}).encode()
        headers = (
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        )
        return Answer(200, headers, body)
