"""The endpoints of push in a middleware's own route table, and who asks there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cache_revalidate.push.cable import SUBPROTOCOL, CableEndpoint
from cache_revalidate.push.door import Door
from cache_revalidate.push.endpoints import http_endpoints, socket_endpoints
from cache_revalidate.routing import RouteTable, local_path, tenant_converter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cache_revalidate.access import Grant
    from cache_revalidate.push.endpoint import PushEndpoint
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.routing import Match
    from cache_revalidate.types import Receive, Scope, Send


class PushRoutes:
    """Finds the endpoints of a hub that stand below `keys_path`, and that of ActionCable.

    `ask` says who asks, given the scope of a request or a WebSocket and a canonical tenant.
    """

    def __init__(
        self,
        hub: Hub,
        keys_path: str,
        ask: Callable[[Scope, str], Awaitable[Grant]],
        *,
        tenant_parameter: str,
        cable_path: str | None,
        vary: Iterable[str],
    ) -> None:
        needs_type = hub.revalidator.has_default_canonical
        self.http: Final = http_endpoints(hub, keys_path, vary=vary)
        """The endpoints that requests come to, by path."""
        self._ask = ask
        self._canonical = hub.revalidator.tenant
        self._sockets: RouteTable[PushEndpoint] = RouteTable(
            socket_endpoints(hub, keys_path), tenant_parameter=tenant_parameter, needs_type=needs_type
        )
        self._convert = tenant_converter(keys_path, tenant_parameter, needs_type=needs_type)
        self._cable_path = cable_path
        self._cable = CableEndpoint(hub, tenant_parameter)

    def door(self, scope: Scope, match: Match[Any]) -> Door:
        """Return the door of a request or a WebSocket whose path was matched."""
        return self._door(scope, partial(match.tenant, self._canonical))

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve a WebSocket, if it is one of push; say whether it is."""
        path = local_path(scope)
        if match := self._sockets.match(path):
            await match.target.run(self.door(scope, match), scope, receive, send)
        elif path == self._cable_path and SUBPROTOCOL in scope.get("subprotocols", ()):
            await self._cable.run(self._door, scope, receive, send)
        else:
            return False
        return True

    def _door(self, scope: Scope, tenant: Callable[[], str] | None = None) -> Door:
        return Door(
            tenant=tenant,
            tenant_of=lambda account: self._convert(str(account)),
            canonical=self._canonical,
            ask=partial(self._ask, scope),
        )
