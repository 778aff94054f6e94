"""The middleware: serves the cache keys, and answers 304 for declared routes before the app is reached.

`CacheRevalidateMiddleware` decides by its own route table and the app's `authorize`, for Starlette and any other
ASGI app. `OutgoingMiddleware` decides nothing: it marks the answers of handlers that a framework's plugin has
declared, once the framework's own authentication and guards have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias

from cache_revalidate.access import (
    Authorize,
    Caller,
    Connection,
    ConnectionT,
    asked_viewer,
    checked_authorize,
    grant_of,
    viewer_of,
)
from cache_revalidate.answer import Answer
from cache_revalidate.declaration import Decision, Declaration
from cache_revalidate.endpoints import DEFAULT_KEYS_PATH, KEYS_CACHE_CONTROL, KeysEndpoint, method_not_allowed
from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError, Refused
from cache_revalidate.exchange import CONDITIONAL_METHODS, SAFE_METHODS, SCOPE_KEY, Exchange
from cache_revalidate.outgoing import run_marked
from cache_revalidate.policy import DEFAULT_VARY, CachePolicy
from cache_revalidate.push.cable import DEFAULT_CABLE_PATH
from cache_revalidate.push.endpoint import PushEndpoint
from cache_revalidate.push.endpoints import hub_of
from cache_revalidate.push.routes import PushRoutes
from cache_revalidate.revalidator import checked_revalidator
from cache_revalidate.routing import RouteTable, local_path
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from cache_revalidate.access import Grant
    from cache_revalidate.http.cache_control import CacheControl
    from cache_revalidate.push.hub import Hub
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.routing import Match
    from cache_revalidate.types import ASGIApp, Receive, Scope, Send, Viewer

Routes: TypeAlias = Mapping[str, Iterable[str] | CachePolicy]
"""Path patterns, and the models that each one's answers depend on."""

_Target: TypeAlias = Declaration | KeysEndpoint | PushEndpoint
_Match: TypeAlias = "Match[_Target]"

# How far below a middleware a second one is looked for: an object may answer to `app` without end, as a mock does.
_DEEPEST: Final = 100


class CacheRevalidateMiddleware(Generic[ConnectionT]):
    """Serves the keys endpoint, and revalidates the declared routes of the ASGI app it wraps.

    `authorize(connection, tenant)` says who may see a tenant, and as which viewer: it **must be the same rule that
    your handlers enforce**, because a 304 is sent before they run. It returns a string that differs where what
    users see differs, or `EVERYONE`, or a `Grant` of either until a given time, or None to refuse; it may be async, may
    raise `Refused`, and any exception in it is a refusal.

    `routes` maps path patterns (`/accounts/{account_id:int}/labels`) to the models their answers depend on, or to
    a `CachePolicy`. `keys_path` is the keys endpoint's pattern, None for no endpoint. `tenant_parameter` is the
    parameter in them that is the tenant. `keys_cache_control` and `vary` are the keys endpoint's headers.

    Below the keys endpoint, `events` and `socket` push changes, by a `Hub` with all defaults; `push` is one of your
    own, or False for none. `cable_path` is where clients of ActionCable connect, None for nowhere.

    Raises `ConfigurationError` when it is made, if any of these could not work.
    """

    connection_class: Callable[[Any], Any] = Connection
    """Makes the connection that `authorize` is shown from the ASGI scope."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        revalidator: Revalidator,
        authorize: Authorize[ConnectionT] | None = None,
        routes: Routes | None = None,
        keys_path: str | None = DEFAULT_KEYS_PATH,
        tenant_parameter: str = "account_id",
        keys_cache_control: CacheControl = KEYS_CACHE_CONTROL,
        vary: Iterable[str] = DEFAULT_VARY,
        push: Hub | bool = True,
        cable_path: str | None = DEFAULT_CABLE_PATH,
    ) -> None:
        self.app: Final = app
        self._revalidator = checked_revalidator(revalidator)
        self._authorize = checked_authorize(authorize)
        self._connection = type(self).connection_class
        keys = KeysEndpoint(revalidator, cache_control=keys_cache_control, vary=vary)
        targets: dict[str, _Target] = _declarations(revalidator, routes)
        if keys_path is not None:
            if keys_path in targets:
                raise ConfigurationError(f"{keys_path!r} is both the keys endpoint and a declared route.")
            targets[keys_path] = keys
        self._patterns = frozenset(targets)
        if keys_path is None and not isinstance(push, bool):
            raise ConfigurationError(
                "There is a hub and no keys_path, below which it would push: give both, or neither."
            )
        self.hub: Final = hub_of(revalidator, push if keys_path is not None else False)
        """The hub that pushes, if there is one."""
        self._push = None
        if self.hub is not None and keys_path is not None:
            self._push = PushRoutes(
                self.hub,
                keys_path,
                self._grant,
                tenant_parameter=tenant_parameter,
                cable_path=cable_path,
                vary=vary,
            )
            targets |= self._push.http
        if not targets:
            raise ConfigurationError("There is nothing to do: give routes=..., or a keys_path.")
        self._table = RouteTable(
            targets, tenant_parameter=tenant_parameter, needs_type=revalidator.has_default_canonical
        )
        self._refuse_second_middleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the keys endpoint and what is not modified; hand everything else to the app."""
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        method = scope["method"]
        match = self._table.match(local_path(scope) if scope.get("root_path") else scope["path"])
        if match is None and method in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        if (
            match is None
            or method not in CONDITIONAL_METHODS
            or scope.get(SCOPE_KEY) is not None
            or isinstance(match.target, PushEndpoint)
        ):
            await self._generally(match, scope, receive, send)
            return
        # The fast lane. A caller who holds what is current is answered without another coroutine, if `authorize` is a
        # plain function and the tokens are at hand; and an `Exchange` is made only where the app has to answer.
        target = match.target
        decision: Decision | None
        try:
            tenant = match.tenant(self._revalidator.tenant)
            viewer = asked_viewer(self._authorize, self._connection(scope), tenant)
            if not isinstance(viewer, str) and viewer is not EVERYONE:
                viewer = await viewer
        except (InvalidTenantError, Refused) as refused:
            decision = target.refusal(refused)
        else:
            decision = target.decide_at_once(scope, tenant, viewer)
            if decision is None:
                decision = await target.decide_by_store(scope, tenant, viewer)
        if isinstance(decision, Answer):
            start, body = decision.messages(method)
            await send(start)
            await send(body)
        elif decision is not None and isinstance(target, Declaration):
            await run_marked(target.exchange(scope, decision), self.app, scope, receive, send)
        else:  # The caller was refused.
            await self.app(scope, receive, send)

    async def _generally(self, match: _Match | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the same for writes and other methods, and for requests that a middleware further out has begun on."""
        method, target = scope["method"], match.target if match else None
        if match and self._push and isinstance(target, PushEndpoint):
            await target.run(self._push.door(scope, match), scope, receive, send)
        elif match and isinstance(target, KeysEndpoint):
            answer = (
                await target.answer(scope, partial(self._caller, scope, match))
                if method in CONDITIONAL_METHODS
                else method_not_allowed()
            )
            await answer.send(send, method=method)
        elif method not in SAFE_METHODS:
            await run_marked(self._exchange(scope, match), self.app, scope, receive, send)
        elif match and isinstance(target, Declaration) and method in CONDITIONAL_METHODS:
            exchange = self._exchange(scope, None)
            if found := await target.decide(exchange, scope, partial(self._caller, scope, match)):
                await found.send(send, method=method)
            elif exchange.is_declared:
                await run_marked(exchange, self.app, scope, receive, send)
            else:  # The caller was refused.
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the WebSockets of push; hand everything else to the app."""
        if scope["type"] == "websocket" and self._push is not None and await self._push.serve(scope, receive, send):
            return
        await self.app(scope, receive, send)

    def _exchange(self, scope: Scope, written: _Match | None) -> Exchange:
        async def may_see(tenant: str) -> bool:
            try:
                await self._viewer(scope, tenant)
            except Refused:
                return False
            return True

        try:
            tenant = written.tenant(self._revalidator.tenant) if written else None
        except InvalidTenantError:
            tenant = None
        return Exchange.begun(self._revalidator, scope, tenant=tenant, may_see=may_see)

    async def _caller(self, scope: Scope, match: _Match) -> Caller:
        tenant = match.tenant(self._revalidator.tenant)
        return Caller(tenant, await self._viewer(scope, tenant))

    async def _grant(self, scope: Scope, tenant: str) -> Grant:
        return await grant_of(self._authorize, self._connection(scope), tenant)

    async def _viewer(self, scope: Scope, tenant: str) -> Viewer:
        return await viewer_of(self._authorize, self._connection(scope), tenant)

    def _refuse_second_middleware(self, app: object) -> None:
        for _ in range(_DEEPEST):
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
            await run_marked(Exchange.begun(self._revalidator, scope), self.app, scope, receive, send)


def _declarations(revalidator: Revalidator, routes: Routes | None) -> dict[str, _Target]:
    if not isinstance(routes, Mapping | None):
        raise ConfigurationError(
            f"routes is a {type(routes).__name__}, not a mapping of path patterns to the models they depend on: "
            'write routes={"/accounts/{account_id:int}/labels": ["label"]}.'
        )
    return {
        pattern: Declaration(
            revalidator,
            declared if isinstance(declared, CachePolicy) else CachePolicy(declared),
            claimant=f"the middleware's route table ({pattern})",
        )
        for pattern, declared in (routes or {}).items()
    }
