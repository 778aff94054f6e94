"""What a framework's own routes need to serve push: an endpoint that they can call, and a door for a matched path."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cache_revalidate.declaration import path_tenant
from cache_revalidate.push.door import Door

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cache_revalidate.access import Grant
    from cache_revalidate.push.endpoint import PushEndpoint
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Receive, Scope, Send


class Served:
    """An endpoint of push as an ASGI app; `door` makes what says who asks there of a scope."""

    def __init__(self, endpoint: PushEndpoint, door: Callable[[Scope], Door]) -> None:
        self._endpoint = endpoint
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket."""
        await self._endpoint.run(self._door(scope), scope, receive, send)


def path_door(
    revalidator: Revalidator,
    path_params: Mapping[str, object],
    name: str,
    ask: Callable[[str], Awaitable[Grant]],
    *,
    convert: Callable[[str], object] = str,
) -> Door:
    """Return the door for a path that a framework has matched; `name` is the parameter that is the tenant.

    `convert` makes the tenant's value of a string, where the path has not made one of it: what a message names is then
    read as the path is.
    """
    value = path_params.get(name)
    of_text: Callable[[str], object] = convert if isinstance(value, str) else cast("Any", type(value))
    return Door(
        tenant=partial(path_tenant, revalidator, path_params, name, convert),
        tenant_of=lambda account: of_text(str(account)),
        canonical=revalidator.tenant,
        ask=ask,
    )
