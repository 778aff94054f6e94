"""The Starlette plugin: the middleware, a decorator for endpoints, and a way to have several lifespans."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias

from cache_revalidate import middleware
from cache_revalidate.access import Authorize, Caller, checked_authorize, grant_of, viewer_of
from cache_revalidate.declaration import Declaration, path_tenant
from cache_revalidate.endpoints import DEFAULT_KEYS_PATH, KEYS_CACHE_CONTROL, KeysEndpoint
from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.middleware import OutgoingMiddleware
from cache_revalidate.policy import DEFAULT_VARY, CachePolicy
from cache_revalidate.push.endpoints import http_endpoints, own_hub, socket_endpoints
from cache_revalidate.push.serving import Served, path_door
from cache_revalidate.revalidator import checked_revalidator

try:
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Route, WebSocketRoute

    from cache_revalidate.starlette_response import answer_response
except ImportError as error:
    raise ImportError('Starlette is not installed: pip install "cache-revalidate[starlette]"') from error

if TYPE_CHECKING:
    from starlette.types import Lifespan

    from cache_revalidate.http.cache_control import CacheControl
    from cache_revalidate.push.door import Door
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Scope

P = ParamSpec("P")
Endpoint: TypeAlias = Callable[P, Response | Awaitable[Response]]
AsyncEndpoint: TypeAlias = Callable[P, Awaitable[Response]]


_HINT: Final = "add fresh_when.middleware to the app's list of middleware."


class CacheRevalidateMiddleware(middleware.CacheRevalidateMiddleware[HTTPConnection]):
    """The core's middleware, whose `authorize(connection, tenant)` is shown Starlette's `HTTPConnection`.

    Where it asks for `connection.user`, put this below `AuthenticationMiddleware` in the list.
    """

    connection_class = HTTPConnection


class FreshWhen:
    """Declares endpoints by decorator; stands below `@requires`, so that this has its say first.

    `authorize(connection, tenant)` returns the viewer, or None to refuse: then the endpoint runs and answers as it
    always would. It **must be the same rule that your endpoints enforce**. `tenant` is the path parameter that is
    the tenant. The app needs `fresh_when.middleware` in its list. Raises `ConfigurationError` when it is made, if
    `authorize` is not a function.
    """

    def __init__(
        self, revalidator: Revalidator, *, authorize: Authorize[HTTPConnection], tenant: str = "account_id"
    ) -> None:
        self._revalidator = checked_revalidator(revalidator)
        self._authorize = checked_authorize(authorize)
        self._parameter = tenant

    @property
    def middleware(self) -> Middleware:
        """What marks the endpoints' answers on their way out; anywhere in the app's list of middleware."""
        return Middleware(OutgoingMiddleware, revalidator=self._revalidator)

    def __call__(
        self, *models: str, cache_control: CacheControl | None = None, vary: Iterable[str] = DEFAULT_VARY
    ) -> Callable[[Endpoint[P]], AsyncEndpoint[P]]:
        """Return the decorator of an endpoint whose answers depend on `models`: a function, or an `HTTPEndpoint`'s.

        A GET or HEAD whose client holds what is current is answered 304 without running it; the answer to
        another method names the tokens that it minted. Raises `UnknownModelError` or `ConfigurationError`.
        """
        declaration = Declaration(self._revalidator, CachePolicy(models, cache_control=cache_control, vary=vary))

        def decorate(endpoint: Endpoint[P]) -> AsyncEndpoint[P]:
            if not inspect.isroutine(endpoint):
                raise ConfigurationError(f"{endpoint!r} is not a function: decorate the methods of an HTTPEndpoint.")

            @wraps(endpoint)
            async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Response:
                request = next((arg for arg in (*args, *kwargs.values()) if isinstance(arg, Request)), None)
                if request is None:
                    raise ConfigurationError(f"{endpoint.__qualname__} was called without a Request.")
                exchange = declaration.begun(request.scope, hint=_HINT)
                if answer := await declaration.decide(exchange, request.scope, partial(self._caller, request)):
                    return answer_response(answer, request)
                try:
                    return await _called(endpoint, *args, **kwargs)
                except BaseException:
                    exchange.withdraw()
                    raise

            return wrapper

        return decorate

    def keys_route(
        self,
        path: str = DEFAULT_KEYS_PATH,
        *,
        cache_control: CacheControl = KEYS_CACHE_CONTROL,
        vary: Iterable[str] = DEFAULT_VARY,
    ) -> Route:
        """Return the keys endpoint as a route, for apps that have no `CacheRevalidateMiddleware` to serve it."""
        endpoint = KeysEndpoint(self._revalidator, cache_control=cache_control, vary=vary)

        async def cache_keys(request: Request) -> Response:
            return answer_response(await endpoint.answer(request.scope, partial(self._caller, request)), request)

        return Route(path, cache_keys)

    def push_routes(
        self, hub: Hub | None = None, *, keys_path: str = DEFAULT_KEYS_PATH, vary: Iterable[str] = DEFAULT_VARY
    ) -> list[BaseRoute]:
        """Return the routes that push changes: `events` and `socket` below `keys_path`, and `ticket` if `hub` has any.

        `authorize` lets their callers in. Without a hub of your own, one with all defaults is made; either way the app
        needs `revalidator.lifespan`. Raises `ConfigurationError` if the hub is another revalidator's.
        """
        found = own_hub(self._revalidator, hub)
        requests, sockets = http_endpoints(found, keys_path, vary=vary), socket_endpoints(found, keys_path)
        return [
            *(Route(path, Served(endpoint, self._door), name=endpoint.name) for path, endpoint in requests.items()),
            *(
                WebSocketRoute(path, Served(endpoint, self._door), name=endpoint.name)
                for path, endpoint in sockets.items()
            ),
        ]

    def _door(self, scope: Scope) -> Door:
        ask = partial(grant_of, self._authorize, HTTPConnection(scope))
        return path_door(self._revalidator, scope["path_params"], self._parameter, ask)

    async def _caller(self, request: Request) -> Caller:
        tenant = path_tenant(self._revalidator, request.path_params, self._parameter)
        return Caller(tenant, await viewer_of(self._authorize, request, tenant))


def compose_lifespans(*lifespans: Lifespan[Any]) -> Lifespan[Any]:
    """Return one lifespan that enters `lifespans` in order and leaves them in reverse; their states are merged."""

    @asynccontextmanager
    async def composed(app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            states = [await stack.enter_async_context(lifespan(app)) for lifespan in lifespans]
            merged = {key: value for state in states if state is not None for key, value in state.items()}
            # A server without lifespan state gets an app that yields any refused: yield none where none was given.
            yield merged or None

    return composed


async def _called(endpoint: Callable[..., Any], *args: object, **kwargs: object) -> Response:
    """Run an endpoint as Starlette would have: one that is not asynchronous in a thread."""
    is_async = inspect.iscoroutinefunction(endpoint)
    response: Response = await (endpoint if is_async else partial(run_in_threadpool, endpoint))(*args, **kwargs)
    return response
