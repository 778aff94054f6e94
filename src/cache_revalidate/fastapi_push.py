"""Push as routes of FastAPI's, whose callers the app's own dependency lets in.

A stream must not hold what its dependencies have opened, a database session, for as long as it lasts, and must end when
they would refuse it now. A ticket stands in for them, and some that take a `Request` can't be resolved for WebSockets.
So they are not resolved for the connection itself, but whenever it has to be known who asks: by a GET of the events, or
the POST for a ticket, that goes through the app's router with the connection's own headers, and ends at once.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from cache_revalidate.access import Grant, checked_grant
from cache_revalidate.answer import Answer
from cache_revalidate.endpoints import AnsweredRefused
from cache_revalidate.exchange import SCOPE_KEY
from cache_revalidate.http.origin import PAGES_OF
from cache_revalidate.middleware import OutgoingMiddleware
from cache_revalidate.push import described
from cache_revalidate.push.door import Door
from cache_revalidate.push.endpoints import EVENTS, SOCKET, TICKET, http_endpoints, socket_endpoints
from cache_revalidate.push.hub import Hub
from cache_revalidate.push.serving import Served, path_door

PROBLEM: Final = {"application/problem+json": {"schema": {"type": "object"}}}

_QUESTION: Final = "cache_revalidate.question"


class _Question:
    """Who asks of a tenant: found in its request's scope by whoever is let in; else what the app has answered."""

    def __init__(self, tenant: str) -> None:
        self.tenant: Final = tenant
        self.viewer: object = None
        self.is_let_in = False
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._body = b""

    def let_in(self, viewer: object) -> Response:
        """Hear whom the dependency has let in."""
        self.viewer, self.is_let_in = viewer, True
        return Response(status_code=204)

    async def receive(self) -> Message:
        """Say that the request has no body."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Take the app's answer."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], tuple(message["headers"])
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def grant(self) -> Grant:
        """Return who was let in, and until when; raise `Refused` if nobody was."""
        if not self.is_let_in:
            raise AnsweredRefused(Answer(self._status, self._headers, self._body))
        return checked_grant(self.viewer)


class FastAPIPush:
    """The routes of a hub; `viewer`, `tenant` and `tenant_type` are those of `Fresh`."""

    def __init__(
        self, hub: Hub, *, viewer: Callable[..., Any], tenant: str, tenant_type: Callable[[str], object]
    ) -> None:
        self._hub = hub
        self._viewer = viewer
        self._parameter = tenant
        self._tenant_type = tenant_type

    def add_to(self, router: APIRouter, keys_path: str, *, vary: Iterable[str]) -> None:
        """Add the routes below the keys endpoint's path."""
        endpoints = http_endpoints(self._hub, keys_path, vary=vary)
        handlers = {f"{keys_path}{EVENTS}": self._add_events, f"{keys_path}{TICKET}": self._add_ticket}
        for path, endpoint in endpoints.items():
            handlers[path](router, path, self._route_class(Served(endpoint, self._door)), endpoint.name)
        for path, socket in socket_endpoints(self._hub, keys_path).items():
            router.add_websocket_route(path, Served(socket, self._door), name=socket.name)  # type: ignore[arg-type]

    def _add_events(self, router: APIRouter, path: str, route_class: type[APIRoute], name: str) -> None:
        takes_tickets = self._hub.tickets is not None

        async def cache_events(  # noqa: PLR0917 - FastAPI calls it by names
            request: Request,
            tenant: Any,  # noqa: ARG001
            viewer: Annotated[Any, Depends(self._viewer)],
            known: Annotated[str | None, Query(description=described.KNOWN)] = None,  # noqa: ARG001
            ticket: Annotated[  # noqa: ARG001
                str | None, Query(description=described.SHOWN_TICKET, include_in_schema=takes_tickets)
            ] = None,
            last_event_id: Annotated[str | None, Header(description=described.LAST_EVENT_ID)] = None,  # noqa: ARG001
        ) -> Response:
            """Tell of new version tokens: first of those that differ from what is shown, then of each change."""
            return _question_of(request).let_in(viewer)

        router.add_api_route(
            path,
            self._with_tenant(cache_events),
            name=name,
            route_class_override=route_class,
            response_class=_EventStreamResponse,
            response_description="Server-sent events, whose data are of this form",
            response_model=described.CacheInvalidated,
            responses={
                200: {"content": {"text/event-stream": {"example": described.EXAMPLE}}},
                **_problems(*described.PROBLEMS),
            },
        )

    def _add_ticket(self, router: APIRouter, path: str, route_class: type[APIRoute], name: str) -> None:
        async def cache_ticket(
            request: Request,
            tenant: Any,  # noqa: ARG001
            viewer: Annotated[Any, Depends(self._viewer)],
        ) -> Response:
            """Give a ticket, with which a page opens a stream where it can't set headers."""
            return _question_of(request).let_in(viewer)

        router.add_api_route(
            path,
            self._with_tenant(cache_ticket),
            methods=["POST"],
            name=name,
            route_class_override=route_class,
            response_model=described.Ticket,
            responses=_problems(401, 403, 404),
        )

    def _with_tenant(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the tenant is: its type is known here alone, and FastAPI reads it from the annotation."""
        handler.__annotations__["tenant"] = Annotated[self._tenant_type, Path(alias=self._parameter)]
        return handler

    def _route_class(self, served: Served) -> type[APIRoute]:
        parameter = self._parameter

        class PushRoute(APIRoute):
            """Serves a request without its dependencies; resolves them, and no more, for one that asks who asks."""

            def get_route_handler(self) -> Callable[[Request], Any]:
                """Return what makes a response of a request."""
                ask = super().get_route_handler()

                async def respond(request: Request) -> Response:
                    if (question := request.scope.get(_QUESTION)) is None:
                        return _ServedResponse(served)
                    shown = request.path_params[parameter]
                    request.scope["path_params"] = {**request.path_params, parameter: type(shown)(question.tenant)}
                    return await ask(request)

                return respond

        return PushRoute

    def _door(self, scope: Scope) -> Door:
        ask = partial(self._ask, scope)
        return path_door(self._hub.revalidator, scope["path_params"], self._parameter, ask, convert=self._tenant_type)

    async def _ask(self, scope: Scope, tenant: str) -> Grant:
        question = _Question(tenant)
        asked = {**scope, _QUESTION: question}
        # What FastAPI has noted of its routing, and we of the answer, are those of the connection itself.
        asked.pop("fastapi", None)
        asked.pop(SCOPE_KEY, None)
        if scope["type"] == "websocket":
            path = scope["path"].removesuffix(SOCKET) + EVENTS
            scheme = PAGES_OF.get(scope.get("scheme", "ws"), "http")
            asked |= {"type": "http", "method": "GET", "scheme": scheme, "path": path, "raw_path": path.encode()}
        app = OutgoingMiddleware(scope["app"].router, revalidator=self._hub.revalidator)
        await app(asked, question.receive, question.send)
        return question.grant()


class _EventStreamResponse(JSONResponse):
    """What FastAPI describes the events by: of other responses it shows no model."""

    media_type = "text/event-stream"


class _ServedResponse(Response):
    """A response that an endpoint of push sends."""

    def __init__(self, served: Served) -> None:
        super().__init__()
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        await self._served(scope, receive, send)


def _question_of(request: Request) -> _Question:
    question: _Question = request.scope[_QUESTION]
    return question


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": described.PROBLEMS[status], "content": PROBLEM} for status in statuses}
