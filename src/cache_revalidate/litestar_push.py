"""Push as route handlers of Litestar's, behind the guards and the authentication of wherever they are registered.

A foreign page is refused before these, and a ticket stands in for them: a middleware around all others sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from litestar import Request, Response, WebSocket
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler, WebsocketRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Parameter, Schema

from cache_revalidate.access import grant_of
from cache_revalidate.exceptions import Refused
from cache_revalidate.http.origin import PAGES_OF
from cache_revalidate.litestar_response import AnswerResponse, ServedResponse
from cache_revalidate.push import described
from cache_revalidate.push.described import CacheInvalidated, Ticket  # noqa: TC001 - which Litestar reads
from cache_revalidate.push.endpoints import EVENTS, SOCKET, TICKET
from cache_revalidate.push.serving import Served, path_door
from cache_revalidate.push.socket import SocketEndpoint
from cache_revalidate.push.sse import EventsEndpoint
from cache_revalidate.push.ticket import TicketEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.openapi.spec import Reference
    from litestar.types import Receive as LitestarReceive
    from litestar.types import Scope as LitestarScope
    from litestar.types import Send as LitestarSend

    from cache_revalidate.access import Authorize, Grant
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.endpoint import PushEndpoint
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.types import ASGIApp, Receive, Scope, Send


@dataclass
class Problem:
    """Why there are no keys, or no events (RFC 9457)."""

    title: str
    status: int
    detail: str


def problems(descriptions: dict[int, str]) -> dict[int, ResponseSpec]:
    """Return how answers with problem details are described, by status."""
    return {
        status: ResponseSpec(Problem, description=description, media_type="application/problem+json")
        for status, description in descriptions.items()
    }


class EventsHandler(HTTPRouteHandler):
    """The stream of events, told apart by its class, as the others are."""


class TicketHandler(HTTPRouteHandler):
    """The ticket endpoint."""


class SocketHandler(WebsocketRouteHandler):
    """The WebSocket."""


class PushHandlers:
    """Makes the handlers of a hub; `viewer` says who asks, `tenant` is the path parameter."""

    def __init__(
        self, hub: Hub, *, viewer: Authorize[Request[Any, Any, Any]], tenant: str, vary: Iterable[str]
    ) -> None:
        self._revalidator = hub.revalidator
        self._viewer = viewer
        self._parameter = tenant
        self._takes_tickets = hub.tickets is not None
        self._endpoints: dict[type[object], PushEndpoint] = {
            EventsHandler: EventsEndpoint(hub, vary=vary),
            SocketHandler: SocketEndpoint(hub),
        }
        self._tickets = None if hub.tickets is None else TicketEndpoint(hub, hub.tickets)
        if self._tickets is not None:
            self._endpoints[TicketHandler] = self._tickets

    def endpoint(self, handler: object) -> PushEndpoint | None:
        """Return the endpoint that a handler serves, if it is one of these."""
        return self._endpoints.get(type(handler))

    def below(self, keys_path: str) -> list[BaseRouteHandler]:
        """Return new handlers for the paths below the keys endpoint's."""
        handlers: list[BaseRouteHandler] = [self._events(f"{keys_path}{EVENTS}"), self._socket(f"{keys_path}{SOCKET}")]
        if self._tickets is not None:
            handlers.append(self._ticket(f"{keys_path}{TICKET}", self._tickets))
        return handlers

    # Not methods: Litestar copies a router's handlers deeply, and a method would take the hub along.

    def _events(self, path: str) -> HTTPRouteHandler:
        endpoint, door = self._endpoints[EventsHandler], self.door

        async def cache_events(request: Request[Any, Any, Any]) -> Response[CacheInvalidated]:
            return ServedResponse(Served(endpoint, lambda _: door(request)))

        return EventsHandler(
            path,
            http_method="GET",
            return_dto=None,
            operation_class=_TicketedEventsOperation if self._takes_tickets else _EventsOperation,
            summary="Cache events",
            description="Server-sent events that tell which version tokens changed.",
            response_description="Server-sent events, whose data are of this form",
            responses=problems(described.PROBLEMS),
        )(cache_events)

    def _socket(self, path: str) -> WebsocketRouteHandler:
        endpoint, door = self._endpoints[SocketHandler], self.door

        async def cache_socket(socket: WebSocket[Any, Any, Any]) -> None:
            raw = cast("_RawWebSocket", socket)
            scope = _scope_of(socket)
            await endpoint.run(door(_as_request(socket)), scope, raw.raw_receive, raw.raw_send)

        return SocketHandler(path, websocket_class=_RawWebSocket)(cache_socket)

    def _ticket(self, path: str, endpoint: TicketEndpoint) -> HTTPRouteHandler:
        door = self.door

        async def cache_ticket(request: Request[Any, Any, Any]) -> Response[Ticket]:
            return AnswerResponse(await endpoint.answer(door(request), _scope_of(request)), request)

        return TicketHandler(
            path,
            http_method="POST",
            status_code=200,
            return_dto=None,
            summary="Ticket",
            description="Gives a ticket, with which a page opens a stream where it can't set headers.",
            responses=problems({status: described.PROBLEMS[status] for status in (401, 403, 404)}),
        )(cache_ticket)

    def door(self, request: Request[Any, Any, Any]) -> Door:
        """Return what says who asks, of a request that has passed authentication and guards."""
        ask = partial(grant_of, self._viewer, request)
        return path_door(self._revalidator, request.path_params, self._parameter, ask)

    def shut_door(self, scope: Scope) -> Door:
        """Return a door that lets nobody in but by a ticket."""
        return path_door(self._revalidator, scope["path_params"], self._parameter, _refuse)


class FirstMiddleware:
    """Stands around an app's own middleware, and answers what is decided without its authentication."""

    def __init__(self, app: ASGIApp, *, handlers: PushHandlers) -> None:
        self.app: Final = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a foreign page and who shows a ticket; pass all others on."""
        endpoint = self._handlers.endpoint(scope.get("route_handler"))
        if endpoint is not None and endpoint.decides_alone(scope):
            await endpoint.run(self._handlers.shut_door(scope), scope, receive, send)
        else:
            await self.app(scope, receive, send)


class _RawWebSocket(WebSocket[Any, Any, Any]):
    """A WebSocket that keeps what it was made of: the endpoint notes by itself how far the connection has come."""

    def __init__(self, scope: LitestarScope, receive: LitestarReceive, send: LitestarSend) -> None:
        super().__init__(scope, receive, send)
        self.raw_receive: Final = cast("Receive", receive)
        self.raw_send: Final = cast("Send", send)


@dataclass
class _EventsOperation(Operation):
    """Describes what the stream reads of a request by itself, and shows how it begins."""

    def __post_init__(self) -> None:
        self.parameters = [
            *(self.parameters or ()),
            _parameter("known", "query", described.KNOWN),
            _parameter("Last-Event-ID", "header", described.LAST_EVENT_ID),
        ]
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content:
            # Not by the handler's media_type: that would be the one of a guard's refusal, too.
            (content,) = answer.content.values()
            examples: dict[str, Example | Reference] = {"stream": Example(value=described.EXAMPLE)}
            answer.content = {"text/event-stream": OpenAPIMediaType(content.schema, examples=examples)}


@dataclass
class _TicketedEventsOperation(_EventsOperation):
    """The same where there are tickets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parameters = [*(self.parameters or ()), _parameter("ticket", "query", described.SHOWN_TICKET)]


def _parameter(name: str, where: str, description: str) -> Parameter:
    return Parameter(name, where, Schema(type=OpenAPIType.STRING), description, required=False)


def _as_request(socket: WebSocket[Any, Any, Any]) -> Request[Any, Any, Any]:
    """Return the request that a WebSocket was opened by: what `viewer` is shown."""
    scope = _scope_of(socket)
    asked = {**scope, "type": "http", "method": "GET", "scheme": PAGES_OF.get(scope.get("scheme", "ws"), "http")}
    request: Request[Any, Any, Any] = socket.app.request_class(cast("Any", asked))
    return request


def _scope_of(connection: Request[Any, Any, Any] | WebSocket[Any, Any, Any]) -> Scope:
    return cast("Scope", connection.scope)


async def _refuse(tenant: str) -> Grant:  # noqa: ARG001
    raise Refused
