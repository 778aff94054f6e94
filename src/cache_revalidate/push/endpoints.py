"""The endpoints of push, by the paths at which they stand below the keys endpoint's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.push.hub import Hub
from cache_revalidate.push.socket import SocketEndpoint
from cache_revalidate.push.sse import EventsEndpoint
from cache_revalidate.push.ticket import TicketEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.push.endpoint import PushEndpoint
    from cache_revalidate.revalidator import Revalidator

EVENTS: Final = "/events"
SOCKET: Final = "/socket"
TICKET: Final = "/ticket"


def hub_of(revalidator: Revalidator, push: Hub | bool) -> Hub | None:
    """Return the hub that `push` stands for: a new one with all defaults, none, or that which it is.

    Raises `ConfigurationError` if it is none of the three, or is that of another revalidator.
    """
    if isinstance(push, bool):
        return own_hub(revalidator, None) if push else None
    if not isinstance(push, Hub):
        raise ConfigurationError(f"push is a {type(push).__name__}: pass a Hub(revalidator), or False for no push.")
    return own_hub(revalidator, push)


def own_hub(revalidator: Revalidator, hub: Hub | None) -> Hub:
    """Return the hub, or a new one with all defaults; raise `ConfigurationError` if it is another revalidator's."""
    if hub is None:
        return Hub(revalidator)
    if not isinstance(hub, Hub):
        raise ConfigurationError(f"The hub is a {type(hub).__name__}: pass a Hub(revalidator).")
    if hub.revalidator is not revalidator:
        raise ConfigurationError("The hub is one of another revalidator: give both the same.")
    return hub


def http_endpoints(hub: Hub, keys_path: str, *, vary: Iterable[str]) -> dict[str, PushEndpoint]:
    """Return the endpoints that requests come to, by path."""
    endpoints: dict[str, PushEndpoint] = {f"{keys_path}{EVENTS}": EventsEndpoint(hub, vary=vary)}
    if hub.tickets is not None:
        endpoints[f"{keys_path}{TICKET}"] = TicketEndpoint(hub, hub.tickets)
    return endpoints


def socket_endpoints(hub: Hub, keys_path: str) -> dict[str, PushEndpoint]:
    """Return the endpoints that WebSockets come to, by path."""
    return {f"{keys_path}{SOCKET}": SocketEndpoint(hub)}
