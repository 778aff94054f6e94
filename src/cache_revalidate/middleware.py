"""The middleware: serves the cache keys, and answers 304 for declared routes before the app is reached.

`CacheRevalidateMiddleware` decides by its own route table and the app's `authorize`, for Starlette and any other
ASGI app. `OutgoingMiddleware` decides nothing: it marks the answers of handlers that a framework's plugin has
declared, once the framework's own authentication and guards have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cache_revalidate.access import Authorize, Connection, viewer_of
from cache_revalidate.endpoints import (
    DEFAULT_KEYS_PATH,
    KEYS_CACHE_CONTROL,
    keys_answer,
    method_not_allowed,
    problem,
    refusal,
)
from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError, Refused
from cache_revalidate.exchange import CONDITIONAL_METHODS, SAFE_METHODS, Exchange
from cache_revalidate.freshness import DEFAULT_VARY, CachePolicy, OwnHeaders, read_freshness, vary_names
from cache_revalidate.http.headers import joined
from cache_revalidate.revalidator import Revalidator
from cache_revalidate.routing import RouteTable, local_path, request_target

if TYPE_CHECKING:
    from cache_revalidate.endpoints import Answer
    from cache_revalidate.http.cache_control import CacheControl
    from cache_revalidate.routing import Match
    from cache_revalidate.types import ASGIApp, Receive, Scope, Send, Viewer

Routes: TypeAlias = Mapping[str, Iterable[str] | CachePolicy]
"""Path patterns, and the models that each one's answers depend on."""


class CacheRevalidateMiddleware:
    """Serves the keys endpoint, and revalidates the declared routes of the ASGI app it wraps.

    `authorize(connection, tenant)` says who may see a tenant, and as which viewer: it **must be the same rule that
    your handlers enforce**, because a 304 is sent before they run. It returns a string that differs where what
    users see differs, or `EVERYONE`, or None to refuse; it may be async, may raise `Refused`, and any exception
    in it is a refusal.

    `routes` maps path patterns (`/accounts/{account_id:int}/labels`) to the models their answers depend on, or to
    a `CachePolicy`. `keys_path` is the keys endpoint's pattern, None for no endpoint. `tenant_parameter` is the
    parameter in them that is the tenant. `keys_cache_control` and `vary` are the keys endpoint's headers.

    Raises `ConfigurationError` when it is made, if any of these could not work.
    """

    connection_class: Callable[[Any], Any] = Connection
    """Makes the connection that `authorize` is shown from the ASGI scope."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        revalidator: Revalidator,
        authorize: Authorize[Any] | None = None,
        routes: Routes | None = None,
        keys_path: str | None = DEFAULT_KEYS_PATH,
        tenant_parameter: str = "account_id",
        keys_cache_control: CacheControl = KEYS_CACHE_CONTROL,
        vary: Iterable[str] = DEFAULT_VARY,
    ) -> None:
        if not isinstance(revalidator, Revalidator):
            raise ConfigurationError(
                f"revalidator is a {type(revalidator).__name__}: pass the Revalidator that your app holds."
            )
        if authorize is None:
            raise ConfigurationError(
                "authorize is missing: pass a function authorize(connection, tenant) that returns who asks, or None "
                "to refuse. If anyone at all may see every tenant, say so: authorize=cache_revalidate.allow_everyone."
            )
        if not callable(authorize):
            raise ConfigurationError(f"authorize is a {type(authorize).__name__}, not a function.")
        self.app: Final = app
        self._revalidator = revalidator
        self._authorize = authorize
        self._keys_cache_control = keys_cache_control
        self._vary = tuple(name.decode("ascii") for name in vary_names(vary))
        self._own_headers = OwnHeaders()
        policies = {pattern: _policy(revalidator, declared) for pattern, declared in (routes or {}).items()}
        patterns: dict[str, CachePolicy | None] = dict(policies)
        if keys_path is not None:
            if keys_path in policies:
                raise ConfigurationError(f"{keys_path!r} is both the keys endpoint and a declared route.")
            patterns[keys_path] = None
        if not patterns:
            raise ConfigurationError("There is nothing to do: give routes=..., or a keys_path.")
        self._patterns = frozenset(patterns)
        self._table = RouteTable(
            patterns, tenant_parameter=tenant_parameter, needs_type=revalidator.has_default_canonical
        )
        self._refuse_second_middleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the keys endpoint and what is not modified; hand everything else to the app."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        match = self._table.match(local_path(scope))
        if match is None:
            if scope["method"] in SAFE_METHODS:
                await self.app(scope, receive, send)
            else:
                await self._write(scope, receive, send, tenant=None)
        elif match.target is None:
            await (await self._keys(scope, match)).send(send, method=scope["method"])
        else:
            await self._declared(match.target, scope, receive, send, match)

    async def _keys(self, scope: Scope, match: Match[CachePolicy | None]) -> Answer:
        if scope["method"] not in CONDITIONAL_METHODS:
            return method_not_allowed()
        try:
            tenant = match.tenant(self._revalidator.tenant)
        except InvalidTenantError as error:
            return problem(404, str(error))
        try:
            viewer = await self._viewer(scope, tenant)
        except Refused as refused:
            return refusal(refused)
        return await keys_answer(
            self._revalidator,
            tenant=tenant,
            viewer=viewer,
            target=request_target(scope),
            if_none_match_field=joined(scope["headers"], b"if-none-match"),
            cache_control=self._keys_cache_control,
            vary=self._vary,
        )

    async def _declared(
        self, policy: CachePolicy, scope: Scope, receive: Receive, send: Send, match: Match[CachePolicy | None]
    ) -> None:
        try:
            tenant = match.tenant(self._revalidator.tenant)
        except InvalidTenantError:
            await self.app(scope, receive, send)
            return
        if scope["method"] not in CONDITIONAL_METHODS:
            await self._write(scope, receive, send, tenant=tenant)
            return
        exchange = self._exchange(scope, tenant)
        exchange.claim(f"the middleware's route table ({local_path(scope)})")
        try:
            viewer = await self._viewer(scope, tenant)
        except Refused:
            await self.app(scope, receive, send)
            return
        freshness = await read_freshness(
            self._revalidator,
            policy,
            tenant=tenant,
            viewer=viewer,
            target=request_target(scope),
            own_headers=self._own_headers,
        )
        if answer := exchange.decide(freshness):
            await answer.send(send, method=scope["method"])
        else:
            await exchange.run(self.app, scope, receive, send)

    async def _write(self, scope: Scope, receive: Receive, send: Send, *, tenant: str | None) -> None:
        await self._exchange(scope, tenant).run(self.app, scope, receive, send)

    def _exchange(self, scope: Scope, tenant: str | None) -> Exchange:
        async def may_see(tenant: str) -> bool:
            try:
                await self._viewer(scope, tenant)
            except Refused:
                return False
            return True

        return Exchange.begun(self._revalidator, scope, tenant=tenant, may_see=may_see)

    async def _viewer(self, scope: Scope, tenant: str) -> Viewer:
        return await viewer_of(self._authorize, type(self).connection_class(scope), tenant)

    def _refuse_second_middleware(self, app: object) -> None:
        while app is not None:
            if isinstance(app, CacheRevalidateMiddleware) and (shared := self._patterns & app._patterns):
                raise ConfigurationError(
                    f"Two CacheRevalidateMiddleware match {', '.join(sorted(shared))}: add it once, with all routes; "
                    "or give the inner one keys_path=None and other routes."
                )
            app = getattr(app, "app", None)


class OutgoingMiddleware:
    """Marks the answers of handlers that a plugin has declared, and those of writes; the plugins install it."""

    def __init__(self, app: ASGIApp, *, revalidator: Revalidator) -> None:
        self.app: Final = app
        self._revalidator = revalidator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with an exchange that its plugin can find."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await Exchange.begun(self._revalidator, scope).run(self.app, scope, receive, send)


def _policy(revalidator: Revalidator, declared: Iterable[str] | CachePolicy) -> CachePolicy:
    policy = declared if isinstance(declared, CachePolicy) else CachePolicy(declared)
    revalidator.known_models(policy.models)
    return policy
