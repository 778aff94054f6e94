"""The Litestar plugin: handlers declared by `opt`, the keys endpoint as a route handler, the revalidator injected.

    app = Litestar(
        route_handlers=[...],
        plugins=[RevalidatePlugin(RevalidateConfig(revalidator, viewer=agent_of_account))],
    )

    @get("/accounts/{account_id:int}/labels", opt={"revalidate": ["label"]})
    async def list_labels(account_id: FromPath[int]) -> list[Label]: ...

A declared handler's 304 is decided where Litestar runs `before_request`: after authentication and guards, before
the handler's dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from cache_revalidate.access import Authorize, Caller, checked_authorize, viewer_of
from cache_revalidate.declaration import Declaration
from cache_revalidate.endpoints import DEFAULT_KEYS_PATH, KEYS_CACHE_CONTROL, CacheKeys, KeysEndpoint
from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError, Refused, UnknownModelError
from cache_revalidate.exchange import CONDITIONAL_METHODS, SAFE_METHODS, Exchange
from cache_revalidate.http.vary import vary_names
from cache_revalidate.middleware import OutgoingMiddleware
from cache_revalidate.policy import DEFAULT_VARY, CachePolicy
from cache_revalidate.push.endpoints import hub_of
from cache_revalidate.push.hub import Hub  # noqa: TC001 - which the config's type hints name
from cache_revalidate.revalidator import Revalidator, checked_revalidator

try:
    from litestar import Request, Response  # noqa: TC002 - which Litestar reads
    from litestar.di import Provide
    from litestar.handlers import HTTPRouteHandler
    from litestar.middleware import DefineMiddleware
    from litestar.openapi.datastructures import ResponseSpec
    from litestar.plugins import InitPlugin, ReceiveRoutePlugin
    from litestar.routes import HTTPRoute, WebSocketRoute

    from cache_revalidate.litestar_push import EventsHandler, FirstMiddleware, PushHandlers, problems
    from cache_revalidate.litestar_response import AnswerResponse
except ImportError as error:
    raise ImportError('Litestar 2.17 or newer is needed: pip install "cache-revalidate[litestar]"') from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.config.app import AppConfig
    from litestar.dto import AbstractDTO
    from litestar.handlers import BaseRouteHandler
    from litestar.routes import BaseRoute
    from litestar.types import AsyncAnyCallable
    from litestar.types import Message as LitestarMessage
    from litestar.types import Scope as LitestarScope

    from cache_revalidate.answer import Answer
    from cache_revalidate.http.cache_control import CacheControl
    from cache_revalidate.types import HeaderList, Scope, Viewer

OPT_KEY: Final = "revalidate"
"""The key in a handler's `opt`: the models that its answers depend on, a `CachePolicy`, or None for undeclared."""

_UNCOMPRESSED: Final = "cache_revalidate_uncompressed"
"""The key in a handler's `opt` that has Litestar not compress, where the app names none."""

_KEYS_PROBLEMS: Final = {
    401: "The caller is not signed in",
    403: "The caller may not see this tenant",
    404: "There can be no such tenant",
    503: "The store of version tokens does not answer",
}


@dataclass
class RevalidateConfig:
    """The configuration of `RevalidatePlugin`."""

    revalidator: Revalidator
    """The revalidator that the app holds; its lifespan is added to the app's."""

    viewer: Authorize[Request[Any, Any, Any]] | None = None
    """Says who asks: `viewer(request, tenant)` returns a string that differs where what users see differs, or
    `EVERYONE`, or a `Grant` of either until a given time, or None to refuse; sync (called directly, never in a thread)
    or async. It runs after authentication and guards, and **must refuse whom your handlers refuse**: a 304 is sent
    before they run. Litestar's JWT and session authentication skip HEAD, so that it has no user then: refuse that. An
    exception in it is a refusal."""

    tenant: str = "account_id"
    """The path parameter that is the tenant."""

    keys_path: str | None = DEFAULT_KEYS_PATH
    """The keys endpoint's path, as Litestar writes paths. None for no endpoint, or where it belongs into a router
    of your own, for its authentication or guards: put `plugin.keys_handler(path)` there."""

    keys_cache_control: CacheControl = KEYS_CACHE_CONTROL
    """The keys endpoint's Cache-Control."""

    vary: Iterable[str] = DEFAULT_VARY
    """The request headers that tell two viewers apart, for the keys endpoint and the handlers declared by a list."""

    dependency_key: str = "revalidator"
    """The name under which handlers are given the revalidator."""

    push: Hub | bool = True
    """What pushes changes, by `events` and `socket` below the keys endpoint, and `ticket` if the hub has any: a `Hub`
    of your own, True for one with all defaults, False for none. For a router of your own, `plugin.push_handlers(path)`
    are to be put there."""


class RevalidatePlugin(InitPlugin, ReceiveRoutePlugin):
    """Revalidates the handlers that declare it, and serves the cache keys.

    It comes after a plugin that commits in a `before_send` hook, as advanced-alchemy's can: then the answer to a
    write names the tokens of that commit, too.

    Raises `ConfigurationError` when it is made, and when a handler is registered that could not work: for unknown
    models, a path without the tenant or with one that is not canonical, and `cache=` on a declared handler.
    """

    def __init__(self, config: RevalidateConfig) -> None:
        self.config: Final = config
        self._revalidator: Final = checked_revalidator(config.revalidator)
        self._viewer: Final = checked_authorize(config.viewer, name="viewer", connection="request")
        self._vary: Final = tuple(name.decode("ascii") for name in vary_names(config.vary))
        self._endpoint: Final = KeysEndpoint(
            config.revalidator, cache_control=config.keys_cache_control, vary=self._vary
        )
        self.hub: Final = hub_of(self._revalidator, config.push)
        """The hub that pushes, if there is one."""
        self._push: Final = (
            None
            if self.hub is None
            else PushHandlers(self.hub, viewer=self._viewer, tenant=config.tenant, vary=self._vary)
        )
        self._uncompressed = _UNCOMPRESSED

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the middleware, the lifespan, the dependency and the keys endpoint to the app."""
        if sum(isinstance(plugin, RevalidatePlugin) for plugin in app_config.plugins) > 1:
            raise ConfigurationError("The app has two RevalidatePlugins, which both read opt={'revalidate'}: keep one.")
        app_config.middleware.insert(
            0, DefineMiddleware(cast("Any", OutgoingMiddleware), revalidator=self._revalidator)
        )
        if self._push is not None:
            app_config.middleware.insert(0, DefineMiddleware(cast("Any", FirstMiddleware), handlers=self._push))
        app_config.after_exception.insert(0, _withdraw)
        app_config.plugins.append(_LastHook(self))
        app_config.lifespan.append(self._revalidator.lifespan)
        app_config.dependencies[self.config.dependency_key] = Provide(lambda: self._revalidator, sync_to_thread=False)
        app_config.signature_namespace["Revalidator"] = Revalidator
        if self.config.keys_path is not None:
            app_config.route_handlers.append(self.keys_handler(self.config.keys_path))
            if self._push is not None:
                app_config.route_handlers.extend(self._push.below(self.config.keys_path))
        return app_config

    def keys_handler(self, path: str) -> HTTPRouteHandler:
        """Return the keys endpoint, to be registered where its callers are authenticated."""

        # Not a method: Litestar copies a router's handlers deeply, and a method would take the store along.
        async def cache_keys(request: Request[Any, Any, Any]) -> Response[CacheKeys]:
            answer = await self._endpoint.answer(_scope_of(request), partial(self._caller, request))
            return AnswerResponse(answer, request)

        return _KeysHandler(
            path,
            http_method=["GET", "HEAD"],
            summary="Cache keys",
            description=f"The version tokens of one tenant ({self.config.tenant}), by model.",
            response_description="The tokens, and the tag that is a part of each validator",
            responses={
                304: ResponseSpec(None, description="What the client holds is current"),
                **problems(_KEYS_PROBLEMS),
            },
        )(cache_keys)

    def push_handlers(self, keys_path: str) -> list[BaseRouteHandler]:
        """Return the handlers that push, to be registered with that of the keys endpoint: below the same path.

        Raises `ConfigurationError` if there is no hub.
        """
        if self._push is None:
            raise ConfigurationError("There is no hub to push by: leave push=False out of the RevalidateConfig.")
        return self._push.below(keys_path)

    def receive_route(self, route: BaseRoute) -> None:
        """Have the handlers of a route that was registered revalidated, if they are declared."""
        if isinstance(route, WebSocketRoute) and self._is_push(route.route_handler):
            self._check_tenant(route, "the socket that pushes")
        if not isinstance(route, HTTPRoute):
            return
        for handler in route.route_handlers:
            if isinstance(handler, _KeysHandler):
                self._check_tenant(route, "the keys endpoint")
            elif self._is_push(handler):
                self._check_tenant(route, "an endpoint that pushes")
                if isinstance(handler, EventsHandler):
                    handler.opt[self._uncompressed] = True
            elif handler.http_methods != {"OPTIONS"}:
                self._receive_handler(route, handler)

    def _is_push(self, handler: BaseRouteHandler) -> bool:
        return self._push is not None and self._push.endpoint(handler) is not None

    def _spare_streams(self, app_config: AppConfig) -> None:
        """Have Litestar not compress what would then come late."""
        if compression := app_config.compression_config:
            self._uncompressed = compression.exclude_opt_key or _UNCOMPRESSED
            app_config.compression_config = replace(compression, exclude_opt_key=self._uncompressed)

    def _tenant_of(self, request: Request[Any, Any, Any]) -> str:
        return self._revalidator.tenant(request.path_params[self.config.tenant])

    async def _viewer_of(self, request: Request[Any, Any, Any], tenant: str) -> Viewer:
        return await viewer_of(self._viewer, request, tenant)

    async def _caller(self, request: Request[Any, Any, Any]) -> Caller:
        tenant = self._tenant_of(request)
        return Caller(tenant, await self._viewer_of(request, tenant))

    def _receive_handler(self, route: HTTPRoute, handler: HTTPRouteHandler) -> None:
        declared = handler.opt.get(OPT_KEY)
        if declared is not None:
            self._check_tenant(route, f"the handler {handler}, which is declared")
        # A handler with several paths is received with each of them, and anew when its path gets another method.
        if isinstance(handler.before_request, _BeforeHandler):
            return
        if declared is not None:
            declaration = self._declaration(handler, declared)
            if dto := handler.resolve_return_dto():
                handler._resolved_return_dto = _sparing_answers(dto)
        elif handler.http_methods <= SAFE_METHODS:
            return
        else:
            declaration = None
        own = [layer.before_request for layer in handler.ownership_layers if layer.before_request]
        handler.before_request = _BeforeHandler(self, declaration, own[-1] if own else None)

    def _declaration(self, handler: HTTPRouteHandler, declared: CachePolicy | Iterable[str]) -> Declaration:
        if handler.cache:
            raise ConfigurationError(
                f"The handler {handler} is declared with opt={{'revalidate': ...}} and with cache={handler.cache!r}: "
                "Litestar's cache would hand out rows from before a commit, labelled with the tokens from after it, "
                "and clients would be stale for good. Leave cache= out: the 304s take its place."
            )
        try:
            policy = declared if isinstance(declared, CachePolicy) else CachePolicy(declared, vary=self._vary)
            return Declaration(self._revalidator, policy, usual=_usual_headers(handler))
        except (ConfigurationError, UnknownModelError) as error:
            raise ConfigurationError(f"opt={{'revalidate': {declared!r}}} of the handler {handler}: {error}") from error

    def _check_tenant(self, route: BaseRoute, what: str) -> None:
        name = self.config.tenant
        parameter = route.path_parameters.get(name)
        if parameter is None:
            raise ConfigurationError(
                f"{route.path} has no tenant, and is the path of {what}: it needs the parameter {{{name}:int}} (or "
                "name the one that is the tenant, RevalidateConfig(tenant=...)). A handler that is declared by its "
                "router and should not be says opt={'revalidate': None}."
            )
        if self._revalidator.has_default_canonical and parameter.type not in {int, UUID}:
            raise ConfigurationError(
                f"{{{parameter.full}}} in {route.path}, the path of {what}, may be spelled in several ways that mean "
                f"one tenant: say {{{name}:int}} or {{{name}:uuid}}, or give Revalidator(canonical=...) the function "
                "that makes a tenant canonical (str.lower, say)."
            )


class _BeforeHandler:
    """A handler's `before_request`: its own first, then the decision on a read, or a note on a write."""

    def __init__(self, plugin: RevalidatePlugin, declaration: Declaration | None, own: AsyncAnyCallable | None) -> None:
        self._plugin = plugin
        self._declaration = declaration
        self._own = own

    async def __call__(self, request: Request[Any, Any, Any]) -> Any:
        if self._own is not None and (answer := await self._own(request)):
            return answer
        if request.method not in CONDITIONAL_METHODS:
            self._note_write(request)
        elif self._declaration is not None and (answer := await self._decide(self._declaration, request)):
            return AnswerResponse(answer, request)
        return None

    async def _decide(self, declaration: Declaration, request: Request[Any, Any, Any]) -> Answer | None:
        scope = _scope_of(request)
        exchange = declaration.begun(scope, hint="another plugin or middleware holds a revalidator of its own.")
        return await declaration.decide(exchange, scope, partial(self._plugin._caller, request))

    def _note_write(self, request: Request[Any, Any, Any]) -> None:
        async def may_see(tenant: str) -> bool:
            try:
                await self._plugin._viewer_of(request, tenant)
            except Refused:
                return False
            return True

        try:
            tenant = self._plugin._tenant_of(request)
        except (KeyError, InvalidTenantError):
            tenant = None
        Exchange.begun(self._plugin._revalidator, _scope_of(request), tenant=tenant, may_see=may_see)


class _LastHook(InitPlugin):
    """Does what comes after all other plugins: one of them may add its own part by way of yet another one.

    The hook that names a commit's tokens comes after that of the plugin which commits, as advanced-alchemy's does.
    """

    def __init__(self, plugin: RevalidatePlugin) -> None:
        self._plugin = plugin

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the hook, and see to the compression."""
        app_config.before_send.append(_name_minted)
        self._plugin._spare_streams(app_config)
        return app_config


class _KeysHandler(HTTPRouteHandler):
    """The keys endpoint, told apart by its class when its route is received."""


def _scope_of(request: Request[Any, Any, Any]) -> Scope:
    return cast("Scope", request.scope)


def _usual_headers(handler: HTTPRouteHandler) -> HeaderList:
    """Return the headers that a handler and its layers declare, `cache_control=` among them."""
    return [
        (header.name.lower().encode("latin-1"), str(header.value).encode("latin-1"))
        for header in handler.resolve_response_headers()
        if not header.documentation_only
    ]


def _sparing_answers(dto: type[AbstractDTO[Any]]) -> type[AbstractDTO[Any]]:
    """Return a DTO that leaves our answers as they are: Litestar has it transform what `before_request` returns."""

    class SparingAnswers(dto):  # type: ignore[valid-type, misc]
        def data_to_encodable_type(self, data: Any) -> Any:
            return data if isinstance(data, AnswerResponse) else super().data_to_encodable_type(data)

    return SparingAnswers


async def _name_minted(message: LitestarMessage, scope: LitestarScope) -> None:
    """Mark the answer to a write again: a `before_send` hook may just have committed, and minted tokens."""
    exchange = Exchange.of(cast("Scope", scope))
    if message["type"] == "http.response.start" and exchange is not None and not exchange.is_safe:
        message["headers"] = await exchange.naming_minted([(name, value) for name, value in message["headers"]])


async def _withdraw(exception: Exception, scope: LitestarScope) -> None:  # noqa: ARG001
    """Have the answer of an exception handler left unmarked, whatever its status."""
    if exchange := Exchange.of(cast("Scope", scope)):
        exchange.withdraw()
