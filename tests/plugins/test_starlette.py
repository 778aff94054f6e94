"""The Starlette plugin keeps the plugins' contract, and fits Starlette's own ways."""

import inspect
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from cache_revalidate import CacheControl, ConfigurationError, Revalidator, UnknownModelError, Viewer, allow_everyone
from cache_revalidate.starlette import CacheRevalidateMiddleware, FreshWhen, compose_lifespans
from cache_revalidate.types import ASGIApp, Message, Receive, Scope, Send
from tests.plugins import starlette_app
from tests.plugins.contract import LABELS, PluginContract, client_of, etag_of
from tests.plugins.desk import Desk
from tests.plugins.starlette_app import PREFIX, BearerBackend, agent_of_account
from tests.support.servers import AppServer

Handler = Callable[[Request], Any]


class TestDecorator(PluginContract):
    """Endpoints declared by decorator, below `@requires`."""

    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the Starlette app."""
        return starlette_app.make_app(desk)


@pytest.fixture
def fresh_when(revalidator: Revalidator) -> FreshWhen:
    """A decorator that lets everyone in."""
    return FreshWhen(revalidator, authorize=allow_everyone)


def app_of(fresh_when: FreshWhen, endpoint: Any, path: str = f"{PREFIX}/labels") -> Starlette:
    """Return an app of one endpoint."""
    return Starlette(routes=[Route(path, endpoint)], middleware=[fresh_when.middleware])


async def is_revalidated(app: ASGIApp, path: str = LABELS) -> bool:
    """Say whether a second GET and a second HEAD are answered 304."""
    async with client_of(app) as client:
        match = {"if-none-match": await etag_of(client, path)}
        return {(await client.request(name, path, headers=match)).status_code for name in ("GET", "HEAD")} == {304}


async def test_sync_endpoint_runs_in_a_thread(fresh_when: FreshWhen) -> None:
    """An endpoint that is not asynchronous keeps running in Starlette's threadpool, not in the event loop."""
    threads = []

    @fresh_when("label")
    def labels(request: Request) -> Response:
        threads.append(threading.current_thread())
        return PlainTextResponse("rows")

    assert await is_revalidated(app_of(fresh_when, labels))
    assert threads != []
    assert threading.current_thread() not in threads


async def test_methods_of_an_endpoint_class(fresh_when: FreshWhen, revalidator: Revalidator) -> None:
    """Methods of an `HTTPEndpoint` are declared one by one, asynchronous or not."""

    class Labels(HTTPEndpoint):
        @fresh_when("label")
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("rows")

        @fresh_when("label")
        def post(self, request: Request) -> Response:
            revalidator.sync.bump(1, "label")
            return Response(status_code=201)

        def patch(self, request: Request) -> Response:
            return PlainTextResponse("undeclared")

    app = app_of(fresh_when, Labels)
    assert await is_revalidated(app)
    async with client_of(app) as client:
        assert (await client.post(LABELS)).headers["cache-keys"].startswith("label=")
        assert "etag" not in (await client.patch(LABELS)).headers


async def test_methods_of_a_class_below_requires(desk: Desk) -> None:
    """`@requires` above the decorator has its say on an `HTTPEndpoint`'s methods, too."""
    fresh_when = FreshWhen(desk.revalidator, authorize=agent_of_account)

    class Labels(HTTPEndpoint):
        @requires("agent", 401)
        @fresh_when("label")
        def get(self, request: Request) -> Response:
            return PlainTextResponse("rows")

    app = Starlette(
        routes=[Route(f"{PREFIX}/labels", Labels)],
        middleware=[Middleware(AuthenticationMiddleware, backend=BearerBackend(desk)), fresh_when.middleware],
    )
    assert await is_revalidated(app)
    async with client_of(app) as ann, client_of(app, None) as nobody:
        response = await nobody.get(LABELS, headers={"if-none-match": await etag_of(ann)})
        assert response.status_code == 401


def test_decorated_endpoint_looks_as_before(fresh_when: FreshWhen) -> None:
    """Name, documentation and signature stay, which routes' names and decorators above go by."""

    @fresh_when("label")
    async def labels(request: Request, *, page: int = 1) -> Response:
        """List them."""
        return Response()

    assert (labels.__name__, labels.__doc__) == ("labels", "List them.")
    assert list(inspect.signature(labels).parameters) == ["request", "page"]


def test_unknown_model_is_an_error_when_declared(fresh_when: FreshWhen) -> None:
    """A model that the revalidator does not have is refused before any request comes."""
    with pytest.raises(UnknownModelError, match="'lable'"):
        fresh_when("lable")
    with pytest.raises(ConfigurationError, match="at least one model"):
        fresh_when()


def test_rule_that_is_no_function_is_an_error(revalidator: Revalidator) -> None:
    """An `authorize` that could not be called is refused at once, not once per request."""
    with pytest.raises(ConfigurationError, match="authorize is a str"):
        FreshWhen(revalidator, authorize="agent")  # type: ignore[arg-type]


def test_class_is_an_error_when_declared(fresh_when: FreshWhen) -> None:
    """A class can't be declared: its methods can."""
    with pytest.raises(ConfigurationError, match="methods of an HTTPEndpoint"):
        fresh_when("label")(HTTPEndpoint)  # type: ignore[arg-type]


async def test_headers_as_declared(fresh_when: FreshWhen) -> None:
    """A declaration has its own Cache-Control and Vary; what decorators above set on the response wins."""

    def dressed(endpoint: Handler) -> Handler:
        async def wrapper(request: Request) -> Response:
            response: Response = await endpoint(request)
            response.headers["vary"] = "Accept"
            response.set_cookie("seen", "1")
            return response

        return wrapper

    @dressed
    @fresh_when("label", cache_control=CacheControl(max_age=5), vary=["X-Agent"])
    async def labels(request: Request) -> Response:
        return PlainTextResponse("rows")

    async with client_of(app_of(fresh_when, labels)) as client:
        response = await client.get(LABELS)
    assert response.headers["cache-control"] == "max-age=5, private"
    assert response.headers["vary"] == "Accept, X-Agent"
    assert response.cookies["seen"] == "1"
    assert "etag" in response.headers


async def declared(request: Request) -> Response:
    """An endpoint that has yet to be decorated."""
    return PlainTextResponse("rows")


@pytest.mark.parametrize("path", ["/accounts/{account_id}/labels", "/accounts/{account_id:path}/labels"])
async def test_untyped_tenant_is_an_error(fresh_when: FreshWhen, path: str) -> None:
    """A tenant that the path leaves a string may be spelled in several ways: it is refused, with the ways out."""
    async with client_of(app_of(fresh_when, fresh_when("label")(declared), path)) as client:
        with pytest.raises(ConfigurationError, match="an int or a UUID"):
            await client.get("/accounts/01/labels")


async def test_untyped_tenant_made_canonical() -> None:
    """A string is a tenant where the revalidator has a function that makes it canonical."""
    revalidator = Revalidator(["label"], canonical=lambda value: str(value).lower())
    fresh_when = FreshWhen(revalidator, authorize=allow_everyone, tenant="workspace")
    app = app_of(fresh_when, fresh_when("label")(declared), "/{workspace}/labels")
    async with client_of(app) as client:
        upper, lower = await client.get("/ACME/labels"), await client.get("/acme/labels")
    assert upper.headers["cache-keys"] == lower.headers["cache-keys"]


async def test_uuid_tenant(fresh_when: FreshWhen, revalidator: Revalidator) -> None:
    """A UUID is one tenant, however it is written."""
    app = app_of(fresh_when, fresh_when("label")(declared), "/{account_id:uuid}/labels")
    uuid = "c0ffee00-0000-4000-8000-00000000abcd"
    async with client_of(app) as client:
        assert (await client.get(f"/{uuid}/labels")).headers["cache-keys"] == (
            f'label="{(await revalidator.tokens(uuid, "label"))["label"]}"'
        )


async def test_path_without_tenant_is_an_error(fresh_when: FreshWhen) -> None:
    """A declared endpoint whose path has no tenant says so."""
    async with client_of(app_of(fresh_when, fresh_when("label")(declared), "/labels")) as client:
        with pytest.raises(ConfigurationError, match="no parameter 'account_id'"):
            await client.get("/labels")


async def test_missing_middleware_is_an_error(fresh_when: FreshWhen) -> None:
    """Without the middleware that marks answers, a declared endpoint says what to add."""
    app = Starlette(routes=[Route(f"{PREFIX}/labels", fresh_when("label")(declared))])
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match=r"fresh_when\.middleware"):
            await client.get(LABELS)


async def test_declared_twice_is_an_error(fresh_when: FreshWhen, revalidator: Revalidator) -> None:
    """A route table that declares the endpoint as well is refused, and so is a second decorator."""
    endpoint = fresh_when("label")(declared)
    table = Middleware(
        CacheRevalidateMiddleware,
        revalidator=revalidator,
        authorize=allow_everyone,
        routes={f"{PREFIX}/labels": ["team"]},
    )
    routes = [Route(f"{PREFIX}/labels", endpoint)]
    twice = [
        Starlette(routes=routes, middleware=[fresh_when.middleware, table]),
        Starlette(routes=routes, middleware=[table, fresh_when.middleware]),
        app_of(fresh_when, fresh_when("team")(endpoint)),
    ]
    for app in twice:
        async with client_of(app) as client:
            with pytest.raises(ConfigurationError, match="declared twice"):
                await client.get(LABELS)


class Between:
    """A middleware below the plugin's: runs the app twice, or makes another method of the request's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do what the request's header says."""

        async def lose(message: Message) -> None: ...

        if scope["type"] == "http":
            headers = dict(scope["headers"])
            scope["method"] = headers.get(b"x-method", scope["method"].encode()).decode()
            if b"x-twice" in headers:
                await self.app(scope, receive, lose)
        await self.app(scope, receive, send)


async def test_endpoint_may_be_run_again(fresh_when: FreshWhen) -> None:
    """A middleware below ours that tries an endpoint twice declares nothing twice."""
    routes = [Route(f"{PREFIX}/labels", fresh_when("label")(declared))]
    app = Starlette(routes=routes, middleware=[fresh_when.middleware, Middleware(Between)])
    async with client_of(app) as client:
        answer = await client.get(LABELS, headers={"x-twice": "1"})
    assert (answer.status_code, len(answer.headers.get_list("etag"))) == (200, 1)


async def test_overridden_method_counts(fresh_when: FreshWhen) -> None:
    """A GET that a middleware below ours makes a DELETE of runs its endpoint, whatever tag it shows."""
    routes = [Route(f"{PREFIX}/labels", fresh_when("label")(declared), methods=["GET", "DELETE"])]
    app = Starlette(routes=routes, middleware=[fresh_when.middleware, Middleware(Between)])
    async with client_of(app) as client:
        etag = (await client.get(LABELS)).headers["etag"]
        for method in ("GET", "POST"):
            deleted = await client.request(method, LABELS, headers={"if-none-match": etag, "x-method": "DELETE"})
            assert (deleted.status_code, "etag" in deleted.headers) == (200, False)
        posted = await client.post(LABELS, headers={"if-none-match": etag, "x-method": "GET"})
        assert posted.status_code == 200


async def test_endpoint_called_without_request(fresh_when: FreshWhen) -> None:
    """What is not called as an HTTP endpoint can't be one."""
    with pytest.raises(ConfigurationError, match="without a Request"):
        await fresh_when("label")(declared)("request")  # type: ignore[arg-type]


async def test_failing_authorize_has_the_endpoint_run(revalidator: Revalidator) -> None:
    """An exception in `authorize` is a refusal: the endpoint answers as if it were not declared."""

    def failing(connection: HTTPConnection, tenant: str) -> Viewer:
        raise LookupError(tenant)

    fresh_when = FreshWhen(revalidator, authorize=failing)
    async with client_of(app_of(fresh_when, fresh_when("label")(declared))) as client:
        response = await client.get(LABELS, headers={"if-none-match": "*"})
    assert (response.status_code, response.text) == (200, "rows")
    assert "etag" not in response.headers


async def test_authentication_of_a_mount(desk: Desk) -> None:
    """Authentication that belongs to a mount alone has run when the decorator decides."""
    fresh_when = FreshWhen(desk.revalidator, authorize=agent_of_account)
    labels = requires("agent", 401)(fresh_when("label")(declared))
    backend = Middleware(AuthenticationMiddleware, backend=BearerBackend(desk))
    routes = [Route("/labels", labels), fresh_when.keys_route("/cache_keys")]
    app = Starlette(
        routes=[Mount(PREFIX, routes=routes, middleware=[backend])],
        middleware=[fresh_when.middleware],
    )
    assert await is_revalidated(app)
    assert await is_revalidated(app, "/api/v1/accounts/1/cache_keys")
    async with client_of(app) as ann, client_of(app, None) as nobody:
        match = {"if-none-match": await etag_of(ann)}
        assert (await nobody.get(LABELS, headers=match)).status_code == 401
        desk.agents["ann"].clear()
        # The endpoint has no rule of its own here, and what it answers bears no tag that could be shown again.
        assert "etag" not in (await ann.get(LABELS, headers=match)).headers


async def test_route_table_behind_authentication(desk: Desk) -> None:
    """The middleware's `authorize` is shown Starlette's connection, its user included."""
    seen: list[HTTPConnection] = []

    def authorize(connection: HTTPConnection, tenant: str) -> Viewer | None:
        seen.append(connection)
        return agent_of_account(connection, tenant)

    app = Starlette(
        routes=[Route(f"{PREFIX}/labels", declared)],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=BearerBackend(desk)),
            Middleware(
                CacheRevalidateMiddleware,
                revalidator=desk.revalidator,
                authorize=authorize,
                routes={f"{PREFIX}/labels": ["label"]},
            ),
        ],
    )
    assert await is_revalidated(app)
    assert {type(connection) for connection in seen} == {HTTPConnection}
    async with client_of(app, "bob") as bob:
        assert "etag" not in (await bob.get(LABELS)).headers


async def test_lifespans_are_composed(revalidator: Revalidator) -> None:
    """Lifespans are entered in order and left in reverse, and their states are merged."""
    events = []

    def named(name: str, state: Mapping[str, Any] | None) -> Callable[[object], Any]:
        @asynccontextmanager
        async def lifespan(app: object) -> AsyncIterator[Mapping[str, Any] | None]:
            events.append(f"{name} begins {app}")
            yield state
            events.append(f"{name} ends")

        return lifespan

    lifespan: Callable[[Any], Any] = compose_lifespans(
        revalidator.lifespan, named("first", {"pool": 1, "shared": 1}), named("second", {"shared": 2})
    )
    async with lifespan("app") as state:
        assert state == {"pool": 1, "shared": 2}
    assert events == ["first begins app", "second begins app", "second ends", "first ends"]


async def test_lifespans_without_state(revalidator: Revalidator) -> None:
    """Where no lifespan has a state, none is yielded: a server without lifespan state would refuse one."""
    lifespan: Callable[[Any], Any] = compose_lifespans(revalidator.lifespan)
    async with lifespan("app") as state:
        assert state is None


def test_under_uvicorn() -> None:
    """A real server sends the 304, and starts and ends the app's lifespan."""
    server = AppServer("tests.plugins.starlette_app:serve", factory=True)
    with server, httpx.Client(base_url=server.base_url, headers={"authorization": "Bearer ann"}) as client:
        for path in (LABELS, "/api/v1/accounts/1/cache_keys"):
            etag = client.get(path).headers["etag"]
            second = client.get(path, headers={"if-none-match": etag})
            assert (second.status_code, second.content) == (304, b"")
        assert client.post(LABELS).headers["cache-keys"].startswith("label=")
