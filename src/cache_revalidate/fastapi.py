"""The FastAPI plugin: a dependency that answers 304 once the app's own authentication has let the caller in."""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Annotated, Any, Final

from cache_revalidate.access import Caller, checked_viewer
from cache_revalidate.answer import Answer
from cache_revalidate.declaration import Declaration, path_tenant
from cache_revalidate.endpoints import KEYS_CACHE_CONTROL, CacheKeys, KeysEndpoint
from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.cache_control import CacheControl
from cache_revalidate.middleware import OutgoingMiddleware
from cache_revalidate.policy import DEFAULT_VARY, CachePolicy
from cache_revalidate.push.endpoints import hub_of
from cache_revalidate.push.hub import Hub
from cache_revalidate.revalidator import Revalidator, checked_revalidator

try:
    from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request, Response
    from starlette.requests import HTTPConnection
    from starlette.routing import compile_path

    from cache_revalidate.fastapi_push import PROBLEM, FastAPIPush
    from cache_revalidate.starlette_response import answer_response
except ImportError as error:
    raise ImportError('FastAPI is not installed: pip install "cache-revalidate[fastapi]"') from error

KEYS_PATH: Final = "/api/v1/accounts/{account_id}/cache_keys"
_HINT: Final = "call fresh.install(app) on the app that has this route."
_KEYS_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "What the client holds is current"},
    401: {"description": "Nobody is signed in"},
    403: {"description": "The caller may not see this tenant", "content": PROBLEM},
    404: {"description": "There can be no such tenant", "content": PROBLEM},
    503: {"description": "The store of version tokens does not answer", "content": PROBLEM},
}


class NotModified(HTTPException):
    """Ends a request before its handler; the app's handlers of `HTTPException` never see it.

    It is one all the same, because what cleans up on the way (a dependency with `yield`) lets those pass.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(304)
        self.answer: Final = answer


class Fresh:
    """Declares routes by dependency: `dependencies=[Depends(fresh("label"))]`, on a route or a router.

    `viewer` is your dependency that lets the caller in (its `HTTPException` is the answer) and returns the viewer:
    a string that differs where what users see differs, or `EVERYONE` (`viewer=lambda: EVERYONE` for public data),
    or a `Grant` of either until a given time; None has the handler run as if undeclared.
    It **must be the same rule that your handlers enforce**, for the tenant in the path too. `tenant` is the path
    parameter that is the tenant, `tenant_type` makes the tenant's value of it: `int`, `UUID`.

    Raises `ConfigurationError` when it is made, if any of these could not work.
    """

    def __init__(
        self,
        revalidator: Revalidator,
        *,
        viewer: Callable[..., Any],
        tenant: str = "account_id",
        tenant_type: Callable[[str], object] = int,
    ) -> None:
        checked_revalidator(revalidator)
        if not callable(viewer):
            raise ConfigurationError(
                f"viewer is a {type(viewer).__name__}: pass the dependency that lets your callers in and returns who "
                "asks. If anyone at all may see every tenant, say so: viewer=lambda: EVERYONE."
            )
        if not callable(tenant_type):
            raise ConfigurationError(f"tenant_type is {tenant_type!r}: say int, UUID, or another type.")
        if tenant_type is str and revalidator.has_default_canonical:
            raise ConfigurationError(
                "Several strings may mean one tenant: say tenant_type=int or tenant_type=UUID, or give "
                "Revalidator(canonical=...) the function that makes a tenant canonical (str.lower, say)."
            )
        self._revalidator = revalidator
        self._viewer = viewer
        self._parameter = tenant
        self._tenant_type = tenant_type

    def install(self, app: FastAPI, *, keys_path: str | None = KEYS_PATH, push: Hub | bool = True) -> None:
        """Have `app` answer what `fresh(...)` decides, and serve the keys endpoint at `keys_path`, if not None.

        A mounted app is an app of its own: install it where the declared routes are. `push` is as for `keys_router`.
        Raises `ConfigurationError` if the tenant's parameter is not in `keys_path`.
        """
        if keys_path is not None and self._parameter not in compile_path(keys_path)[2]:
            raise ConfigurationError(f"The keys endpoint's path {keys_path!r} lacks the tenant, {{{self._parameter}}}.")
        app.add_middleware(OutgoingMiddleware, revalidator=self._revalidator)
        app.add_exception_handler(NotModified, _send_not_modified)
        if keys_path is not None:
            app.include_router(self.keys_router(keys_path, push=push))

    def __call__(
        self, *models: str, cache_control: CacheControl | None = None, vary: Iterable[str] = DEFAULT_VARY
    ) -> Callable[..., AsyncIterator[None]]:
        """Return the dependency of routes whose answers depend on `models`.

        A GET or HEAD whose client holds what is current is answered 304 without running the handler, nor the
        dependencies that come after this one: let `viewer` hold the whole rule. The answer to another method
        names the tokens that it minted. Raises `UnknownModelError` or `ConfigurationError`.
        """
        declaration = Declaration(self._revalidator, CachePolicy(models, cache_control=cache_control, vary=vary))

        async def fresh(
            connection: HTTPConnection, viewer: Annotated[Any, Depends(self._viewer)]
        ) -> AsyncIterator[None]:
            if not isinstance(connection, Request):  # a router's dependencies are those of its websockets, too
                yield
                return
            if NotModified not in connection.app.exception_handlers:
                raise ConfigurationError(f"This app can't answer what fresh(...) decides: {_HINT}")
            exchange = declaration.begun(connection.scope, hint=_HINT)
            find_caller = partial(self._caller, connection, viewer)
            if answer := await declaration.decide(exchange, connection.scope, find_caller):
                raise NotModified(answer)
            try:
                yield
            except BaseException:
                exchange.withdraw()
                raise

        return fresh

    def keys_router(
        self,
        path: str = KEYS_PATH,
        *,
        cache_control: CacheControl = KEYS_CACHE_CONTROL,
        vary: Iterable[str] = DEFAULT_VARY,
        push: Hub | bool = True,
    ) -> APIRouter:
        """Return the keys endpoint as a router, for `include_router`; the revalidator's lifespan comes with it.

        The tenant's parameter stands in `path`, or in the prefix of the router that includes this one. Below it,
        `events` and `socket` push changes, and `ticket` gives tickets if the hub has any: `push` is a `Hub` of your
        own, True for one with all defaults, or False for none of these. `viewer` is asked for each of them by a
        request of its own, again whenever it has to be known who asks, and with nothing left open in between.
        """
        endpoint = KeysEndpoint(self._revalidator, cache_control=cache_control, vary=vary)

        async def cache_keys(request: Request, tenant: Any, viewer: Annotated[Any, Depends(self._viewer)]) -> Response:
            """Return the version token of each model, and a tag that changes when all is to be taken for stale."""

            async def find_caller() -> Caller:
                return Caller(self._revalidator.tenant(tenant), checked_viewer(viewer))

            return answer_response(await endpoint.answer(request.scope, find_caller), request)

        # The parameter's type is known here alone, and FastAPI reads it from the annotation.
        cache_keys.__annotations__["tenant"] = Annotated[self._tenant_type, Path(alias=self._parameter)]
        router = APIRouter(lifespan=self._revalidator.lifespan)
        router.add_api_route(path, cache_keys, response_model=CacheKeys, responses=_KEYS_RESPONSES)
        router.add_api_route(path, cache_keys, methods=["HEAD"], include_in_schema=False)
        if hub := hub_of(self._revalidator, push):
            routes = FastAPIPush(hub, viewer=self._viewer, tenant=self._parameter, tenant_type=self._tenant_type)
            routes.add_to(router, path, vary=vary)
        return router

    async def _caller(self, request: Request, viewer: object) -> Caller:
        tenant = path_tenant(self._revalidator, request.path_params, self._parameter, self._tenant_type)
        return Caller(tenant, checked_viewer(viewer))


async def _send_not_modified(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotModified)  # noqa: S101 - what it is registered for
    return answer_response(error.answer, request)
