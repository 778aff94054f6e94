"""The Litestar plugin keeps the plugins' contract, and fits Litestar's own ways."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import httpx
import pytest
from litestar import Controller, Litestar, Response, Router, asgi, get, post, route, websocket
from litestar.config.app import AppConfig
from litestar.config.compression import CompressionConfig
from litestar.connection import WebSocket
from litestar.datastructures import CacheControlHeader, ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.dto import DataclassDTO, DTOConfig
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.params import FromPath, PathParameter
from litestar.plugins import InitPlugin
from litestar.testing import AsyncTestClient
from litestar.types import ASGIApp as LitestarApp
from litestar.types import Message, Receive, Scope, Send
from starlette.applications import Starlette
from starlette.routing import Mount

from cache_revalidate import (
    CacheControl,
    CachePolicy,
    CacheRevalidateMiddleware,
    MemoryStore,
    Revalidator,
    allow_everyone,
)
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from cache_revalidate.types import ASGIApp
from tests.plugins import litestar_app
from tests.plugins.contract import LABELS, PluginContract, client_of, etag_of
from tests.plugins.desk import ACCOUNT, Desk
from tests.plugins.litestar_app import PREFIX, AnyConnection, AnyRequest
from tests.support.servers import AppServer


class TestOpt(PluginContract):
    """Handlers declared by their router's `opt`, behind its guard."""

    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the Litestar app."""
        return cast("ASGIApp", litestar_app.make_app(desk))


def app_of(
    revalidator: Revalidator, *handlers: Any, config: Mapping[str, Any] | None = None, **layers: Any
) -> Litestar:
    """Return an app of these handlers, whose accounts everyone may see."""
    plugin = RevalidatePlugin(RevalidateConfig(revalidator, **{"viewer": allow_everyone, **(config or {})}))
    return Litestar([*handlers], plugins=[plugin], logging_config=None, **layers)


def client_for(app: Litestar | Starlette, *, raises: bool = True) -> httpx.AsyncClient:
    """Return a client of an app."""
    return client_of(cast("ASGIApp", app), raises=raises)


async def second_get(app: Litestar, path: str = LABELS) -> httpx.Response:
    """Return the answer to a client that holds the tag of the first one."""
    async with client_for(app) as client:
        return await client.get(path, headers={"if-none-match": await etag_of(client, path)})


@get(f"{PREFIX}/labels", opt={"revalidate": ["label"]})
async def labels() -> list[str]:
    """Answer a list that depends on labels."""
    return ["urgent"]


async def test_keyword_declares(revalidator: Revalidator) -> None:
    """Litestar puts unknown keywords of a handler into its `opt`, so that one declares as well."""

    @get(f"{PREFIX}/labels", revalidate="label")
    async def labels() -> list[str]:
        return ["urgent"]

    assert (await second_get(app_of(revalidator, labels))).status_code == 304


async def test_policy_declares(revalidator: Revalidator) -> None:
    """A `CachePolicy` in `opt` sets models and headers."""
    policy = CachePolicy(["label", "team"], cache_control=CacheControl(max_age=5), vary=["X-Agent"])

    @get(f"{PREFIX}/labels", opt={"revalidate": policy})
    async def labels() -> list[str]:
        return ["urgent"]

    response = await second_get(app_of(revalidator, labels))
    assert (response.status_code, response.headers["cache-control"]) == (304, "max-age=5, private")
    assert response.headers["vary"] == "X-Agent"
    tokens = await revalidator.tokens(1)
    assert response.headers["cache-keys"] == ", ".join(f'{model}="{token}"' for model, token in tokens.items())


async def test_config_sets_vary(revalidator: Revalidator) -> None:
    """The configured Vary is that of the keys endpoint, and of handlers declared by a list."""
    async with client_for(app_of(revalidator, labels, config={"vary": ["X-Agent"]})) as client:
        for path in (LABELS, f"{ACCOUNT}/cache_keys"):
            assert (await client.get(path)).headers["vary"] == "X-Agent"


async def test_undeclared_handler_is_left_alone(revalidator: Revalidator) -> None:
    """A handler that says None is undeclared though its router declares, and then its path needs no tenant."""

    @get("/plain", opt={"revalidate": None})
    async def plain() -> str:
        return "as ever"

    router = Router("/", route_handlers=[labels, plain], opt={"revalidate": ["label"]})
    async with client_for(app_of(revalidator, router)) as client:
        response = await client.get("/plain")
        assert (response.status_code, response.text) == (200, "as ever")
        assert {"etag", "cache-keys", "cache-control", "vary"}.isdisjoint(response.headers)


async def test_controller_declares(revalidator: Revalidator) -> None:
    """A controller's `opt` declares its handlers, and one of them can depend on other models."""

    class Desks(Controller):
        path = PREFIX
        opt = {"revalidate": ["label"]}  # noqa: RUF012

        @get("/labels")
        async def labels(self) -> list[str]:
            return ["urgent"]

        @get("/teams", opt={"revalidate": ["team"]})
        async def teams(self) -> list[str]:
            return ["sales"]

    app = app_of(revalidator, Desks)
    assert (await second_get(app)).headers["cache-keys"].startswith("label=")
    assert (await second_get(app, f"{ACCOUNT}/teams")).headers["cache-keys"].startswith("team=")


@pytest.mark.parametrize("parameter", ["{account_id:uuid}", "{workspace:str}"])
async def test_other_tenants(parameter: str) -> None:
    """A tenant may be a UUID, or a string that the app makes canonical, and the parameter have another name."""
    name = parameter[1:].partition(":")[0]
    revalidator = Revalidator(["label"], canonical=lambda value: str(value).lower())

    @get(f"/{parameter}/labels", opt={"revalidate": ["label"]})
    async def labels() -> list[str]:
        return ["urgent"]

    app = app_of(revalidator, labels, config={"tenant": name, "keys_path": f"/{parameter}/cache_keys"})
    tenant = "ABCDEF00-0000-4000-8000-000000000001"
    assert (await second_get(app, f"/{tenant}/labels")).status_code == 304
    async with client_for(app) as client:
        keys = (await client.get(f"/{tenant}/cache_keys")).json()["cache_keys"]
    assert keys == await revalidator.tokens(tenant.lower())


async def test_several_paths_and_late_methods(revalidator: Revalidator) -> None:
    """A handler with two paths, one of which gets another method later, is decided on once for each request."""
    asked = []

    async def before(request: AnyRequest) -> None:
        asked.append(request.method)

    @get([f"{PREFIX}/labels", f"{PREFIX}/tags"], opt={"revalidate": ["label"]}, before_request=before)
    async def labels() -> list[str]:
        return ["urgent"]

    @post(f"{PREFIX}/tags")
    async def create(account_id: FromPath[int]) -> None:
        await revalidator.bump(account_id, "label")

    app = app_of(revalidator, labels)
    app.register(create)
    for path in (LABELS, f"{ACCOUNT}/tags"):
        assert (await second_get(app, path)).status_code == 304
    assert asked == ["GET"] * 4
    async with client_for(app) as client:
        assert (await client.post(f"{ACCOUNT}/tags")).headers["cache-keys"].startswith("label=")


async def test_one_handler_in_two_apps() -> None:
    """A handler's declaration belongs to the app, so that two apps keep their own tokens."""
    first, second = Revalidator(["label"]), Revalidator(["label"])
    router = Router("/", route_handlers=[labels])
    apps = [app_of(revalidator, handler) for revalidator in (first, second) for handler in (labels, router)]
    before = [(await second_get(app)).headers["cache-keys"] for app in apps]
    await first.bump(1, "label")
    after = [(await second_get(app)).headers["cache-keys"] for app in apps]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True, True]


@pytest.mark.parametrize("layer", ["handler", "router", "app"])
async def test_own_before_request_runs_first(revalidator: Revalidator, layer: str) -> None:
    """The app's own `before_request`, of the nearest layer, runs before the decision, and its answer wins."""
    answers = iter([None, "", "instead"])
    layers = ["app", "router", "handler"]

    def before(request: AnyRequest) -> str | None:
        return next(answers)

    def overridden(request: AnyRequest) -> str:
        return "of a layer further out"

    hooks: dict[str, dict[str, Any]] = {name: {} for name in layers}
    hooks.update({name: {"before_request": overridden} for name in layers[: layers.index(layer)]})
    hooks[layer] = {"before_request": before}

    @get("/labels", **hooks["handler"])
    async def labels() -> str:
        return "rows"

    router = Router(PREFIX, route_handlers=[labels], opt={"revalidate": ["label"]}, **hooks["router"])
    async with client_for(app_of(revalidator, router, **hooks["app"])) as client:
        match = {"if-none-match": await etag_of(client)}
        assert (await client.get(LABELS, headers=match)).status_code == 304
        response = await client.get(LABELS, headers=match)
        assert (response.status_code, response.text) == (200, "instead")
        assert "etag" not in response.headers


async def test_order_within_a_request(revalidator: Revalidator) -> None:
    """Middleware, guards, the decision, then dependencies: a 304 opens no database session."""
    events: list[str] = []

    def guard(connection: AnyConnection, handler: BaseRouteHandler) -> None:
        events.append("guard")

    def viewer(request: AnyRequest, tenant: str) -> str:
        events.append(f"viewer of {tenant}")
        return "ann"

    async def session() -> AsyncIterator[str]:
        events.append("session opened")
        yield "session"
        events.append("session closed")

    @get(f"{PREFIX}/labels", guards=[guard], dependencies={"db": Provide(session)}, opt={"revalidate": ["label"]})
    async def labels(db: NamedDependency[str]) -> str:
        events.append("handler")
        return db

    app = app_of(revalidator, labels, config={"viewer": viewer})
    async with client_for(app) as client:
        match = {"if-none-match": await etag_of(client)}
        assert events == ["guard", "viewer of 1", "session opened", "handler", "session closed"]
        events.clear()
        assert (await client.get(LABELS, headers=match)).status_code == 304
        assert events == ["guard", "viewer of 1"]


async def test_viewer_may_fail(revalidator: Revalidator) -> None:
    """An exception in `viewer` is a refusal: the handler runs untouched, and the keys endpoint answers 403."""

    async def viewer(request: AnyRequest, tenant: str) -> str:
        raise LookupError(tenant)

    async with client_for(app_of(revalidator, labels, config={"viewer": viewer})) as client:
        response = await client.get(LABELS)
        assert (response.status_code, response.json()) == (200, ["urgent"])
        assert {"etag", "cache-keys", "vary"}.isdisjoint(response.headers)
        keys = await client.get(f"{ACCOUNT}/cache_keys")
        assert (keys.status_code, keys.headers["content-type"]) == (403, "application/problem+json")


@dataclass
class Label:
    """A row with a column that clients don't get."""

    title: str
    note: str


class LabelDTO(DataclassDTO[Label]):
    """Leaves the note out."""

    config = DTOConfig(exclude={"note"})


@get(f"{PREFIX}/labels", return_dto=LabelDTO, opt={"revalidate": ["label"]})
async def labels_by_dto() -> list[Label]:
    """Answer rows."""
    return [Label("urgent", "secret")]


@get(f"{PREFIX}/labels", return_dto=LabelDTO, opt={"revalidate": ["label"]})
async def wrapped_labels_by_dto() -> Response[list[Label]]:
    """Answer rows in a response."""
    return Response([Label("urgent", "secret")])


@pytest.mark.parametrize("handler", [labels_by_dto, wrapped_labels_by_dto])
async def test_dto_leaves_the_304_alone(revalidator: Revalidator, handler: Any) -> None:
    """A handler with a return DTO answers through it, and 304 past it."""
    app = app_of(revalidator, handler)
    async with client_for(app) as client:
        assert (await client.get(LABELS)).json() == [{"title": "urgent"}]
        schema = (await client.get("/schema/openapi.json")).json()
        assert "note" not in str(schema["components"])
    response = await second_get(app)
    assert (response.status_code, response.content) == (304, b"")


async def test_layers_headers_are_repeated(revalidator: Revalidator) -> None:
    """What handler and layers declare of caching is in the 304 of a process that has sent no 200, once (rule 6)."""

    @get(f"{PREFIX}/labels", cache_control=CacheControlHeader(max_age=60, private=True), opt={"revalidate": ["label"]})
    async def labels() -> list[str]:
        return ["urgent"]

    headers = [
        ResponseHeader(name="Vary", value="Accept"),
        ResponseHeader(name="X-Frame-Options", value="DENY"),
        ResponseHeader(name="Retry-After", documentation_only=True),
    ]

    def process() -> Litestar:
        return app_of(revalidator, labels, response_headers=headers)

    async with client_for(process()) as one, client_for(process()) as other:
        first = await one.get(LABELS)
        second = await other.get(LABELS, headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, second.status_code) == (200, 304)
    for name in ("etag", "cache-control", "vary", "cache-keys", "x-frame-options"):
        assert second.headers.get_list(name) == first.headers.get_list(name)
    assert second.headers["cache-control"] == "max-age=60, private"
    assert second.headers["vary"] == "Accept, Authorization, Cookie"
    assert {"content-type", "content-length", "retry-after"}.isdisjoint(second.headers)


async def test_hooks_see_the_request_whole(revalidator: Revalidator) -> None:
    """`before_send` finds what a dependency left in the scope, a session to commit, say; `after_request` is asked."""
    found = []

    async def before_send(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            found.append(cast("dict[str, Any]", scope).pop("session of the database", None))

    async def after_request(response: Response[Any]) -> Response[Any]:
        response.headers["x-after"] = "seen"
        return response

    def session(scope: Scope) -> str:
        cast("dict[str, Any]", scope)["session of the database"] = "open"
        return "session"

    @get(f"{PREFIX}/labels", dependencies={"db": Provide(session, sync_to_thread=False)}, revalidate=["label"])
    async def labels(db: NamedDependency[str]) -> str:
        return db

    response = await second_get(app_of(revalidator, labels, before_send=[before_send], after_request=after_request))
    assert found == ["open", None]
    assert (response.status_code, response.headers["x-after"]) == (304, "seen")


async def test_the_apps_middleware_wins(revalidator: Revalidator) -> None:
    """What a middleware of the app's says of caching is the app's word as well: no tag beside no-store (rule 10)."""

    class NoStore(ASGIMiddleware):
        async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: LitestarApp) -> None:
            async def marked(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
                await send(message)

            await next_app(scope, receive, marked)

    async with client_for(app_of(revalidator, labels, middleware=[NoStore()])) as client:
        response = await client.get(LABELS)
        assert response.headers.get_list("cache-control") == ["no-store"]
        assert "etag" not in response.headers


async def test_compressed_answers_share_the_tag(revalidator: Revalidator) -> None:
    """The tag is weak: it is that of the compressed answer and of the plain one (rule 8)."""

    @get(f"{PREFIX}/labels", opt={"revalidate": ["label"]})
    async def labels() -> str:
        return "urgent " * 1000

    app = app_of(revalidator, labels, compression_config=CompressionConfig(backend="gzip"))
    async with client_for(app) as client:
        compressed = await client.get(LABELS)
        plain = await client.get(LABELS, headers={"accept-encoding": "identity"})
        assert (compressed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
        assert compressed.headers["etag"] == plain.headers["etag"]
        match = await client.get(LABELS, headers={"if-none-match": plain.headers["etag"]})
        assert (match.status_code, match.content) == (304, b"")


async def test_unsafe_and_options_requests_run(revalidator: Revalidator) -> None:
    """Only GET and HEAD are answered 304, whatever else a declared handler takes (rule 5)."""

    @route(f"{PREFIX}/labels", http_method=["GET", "POST"], status_code=200, opt={"revalidate": ["label"]})
    async def labels() -> str:
        return "rows"

    async with client_for(app_of(revalidator, labels)) as client:
        match = {"if-none-match": await etag_of(client)}
        assert (await client.get(LABELS, headers=match)).status_code == 304
        posted = await client.post(LABELS, headers=match)
        assert (posted.status_code, "etag" in posted.headers) == (200, False)
        options = await client.options(LABELS, headers=match)
        assert (options.status_code, options.headers["allow"]) == (204, "GET, OPTIONS, POST")


async def test_any_write_names_what_it_minted(revalidator: Revalidator) -> None:
    """So does an undeclared one, one in a thread, one whose path names no tenant, and one that fails afterwards."""

    @post(f"{PREFIX}/plain")
    async def plain(account_id: FromPath[int]) -> None:
        await revalidator.bump(account_id, "label")

    @post(f"{PREFIX}/thread", sync_to_thread=True)
    def thread(account_id: FromPath[int]) -> None:
        revalidator.sync.bump(account_id, "label")

    @post("/tenant_of_the_body")
    async def tenant_of_the_body() -> None:
        await revalidator.bump(1, "label")

    @post("/{account_id:str}/spelled")
    async def spelled(account_id: FromPath[str]) -> None:
        await revalidator.bump(int(account_id), "label")

    @post(f"{PREFIX}/late")
    async def late(account_id: FromPath[int]) -> None:
        await revalidator.bump(account_id, "label")
        raise HTTPException(status_code=409)

    app = app_of(revalidator, plain, thread, tenant_of_the_body, spelled, late)
    async with client_for(app) as client:
        for path in (f"{ACCOUNT}/plain", f"{ACCOUNT}/thread", "/tenant_of_the_body", "/1/spelled", f"{ACCOUNT}/late"):
            response = await client.post(path)
            tokens = await revalidator.tokens(1, "label")
            assert response.headers["cache-keys"] == f'label="{tokens["label"]}"', path
        assert "cache-keys" not in (await client.post("/01/spelled")).headers


async def test_write_that_is_committed_when_its_answer_leaves(revalidator: Revalidator) -> None:
    """Tokens that a plugin's `before_send` hook mints, by committing a session, are named like the handler's."""

    async def commit(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            await revalidator.bump(1, "team")

    class Sessions(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.before_send.append(commit)
            return app_config

    class Database(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.plugins.append(Sessions())
            return app_config

    @post(f"{PREFIX}/labels")
    async def create(account_id: FromPath[int]) -> None: ...

    plugin = RevalidatePlugin(RevalidateConfig(revalidator, viewer=allow_everyone))
    app = Litestar([create, labels], plugins=[Database(), plugin], logging_config=None)
    async with client_for(app) as client:
        response = await client.post(LABELS)
        tokens = await revalidator.tokens(1, "team")
        assert response.headers.get_list("cache-keys") == [f'team="{tokens["team"]}"']
        assert (await client.get(LABELS)).headers["cache-keys"].startswith("label=")


async def test_refused_caller_learns_no_minted_token(revalidator: Revalidator) -> None:
    """A write that anyone may do names its tokens to none but those who may see the tenant."""

    def agents_only(request: AnyRequest, tenant: str) -> str | None:
        return "ann" if request.headers.get("x-agent") == tenant else None

    @post(f"{PREFIX}/feedback", opt={"revalidate": ["label"]})
    async def feedback(account_id: Annotated[int, PathParameter()]) -> None:
        await revalidator.bump(account_id, "label")

    async with client_for(app_of(revalidator, feedback, config={"viewer": agents_only})) as client:
        assert "cache-keys" in (await client.post(f"{ACCOUNT}/feedback", headers={"x-agent": "1"})).headers
        response = await client.post(f"{ACCOUNT}/feedback", headers={"x-agent": "2"})
        assert (response.status_code, "cache-keys" in response.headers) == (201, False)


async def test_revalidator_is_injected(revalidator: Revalidator) -> None:
    """Handlers get the revalidator by name, also where its type is imported for the type checker alone."""

    async def bump(store: Any) -> Any:
        return await store.bump(1, "label")

    bump.__annotations__ = {"store": "NamedDependency[Revalidator]", "return": "dict[str, str]"}
    bump.__module__ = "builtins"  # Litestar looks names up in a handler's module: this one does not import ours
    handler = post("/bump", signature_namespace={"NamedDependency": NamedDependency})(bump)
    async with client_for(app_of(revalidator, handler, config={"dependency_key": "store"})) as client:
        assert (await client.post("/bump")).json() == await revalidator.tokens(1, "label")


async def test_lifespan_runs_with_the_apps() -> None:
    """The store is checked when the app starts and closed when it ends; the app's own lifespan is kept."""

    class Store(MemoryStore):
        events: ClassVar[list[str]] = []

        async def check(self) -> None:
            self.events.append("checked")

        async def aclose(self) -> None:
            self.events.append("closed")

    async def started() -> None:
        Store.events.append("app started")

    app = app_of(Revalidator(["label"], Store()), labels, on_startup=[started])
    async with AsyncTestClient(app) as client:
        assert (await client.get(LABELS)).status_code == 200
        assert Store.events == ["checked", "app started"]
    assert Store.events == ["checked", "app started", "closed"]


async def test_prefix_and_mount(revalidator: Revalidator) -> None:
    """The app works under a path of its own, mounted in Starlette, and mounted in another Litestar app."""
    prefixed = app_of(revalidator, labels, path="/desk")
    inner = app_of(revalidator, labels)

    @asgi("/desk", is_mount=True, copy_scope=False)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    outer = Litestar([mounted], logging_config=None)
    starlette = Starlette(routes=[Mount("/desk", cast("ASGIApp", inner))])
    for app in (prefixed, outer, starlette):
        async with client_for(app) as client:
            match = {"if-none-match": await etag_of(client, f"/desk{LABELS}")}
            assert (await client.get(f"/desk{LABELS}", headers=match)).status_code == 304
            assert (await client.get(f"/desk{ACCOUNT}/cache_keys")).status_code == 200


async def test_other_kinds_of_handlers(revalidator: Revalidator) -> None:
    """Websockets and ASGI apps below a router that declares are left alone."""

    @websocket("/socket")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    @asgi("/asgi", copy_scope=False)
    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("bare").to_asgi_response(None, cast("AnyRequest", None))(scope, receive, send)

    router = Router("/declared", route_handlers=[socket, bare], opt={"revalidate": ["label"]})
    async with AsyncTestClient(app_of(revalidator, router)) as client:
        response = await client.get("/declared/asgi")
        assert (response.status_code, "etag" in response.headers) == (200, False)
        with await client.websocket_connect("/declared/socket") as connection:
            assert connection.receive_text() == "hello"


async def test_two_deciders_are_an_error(revalidator: Revalidator) -> None:
    """A route that the middleware around the app declares as well is an error that says so."""
    app = CacheRevalidateMiddleware(
        cast("ASGIApp", app_of(revalidator, labels, debug=True)),
        revalidator=revalidator,
        authorize=allow_everyone,
        routes={f"{PREFIX}/labels": ["label"]},
        keys_path=None,
    )
    async with client_of(app) as client:
        response = await client.get(LABELS)
        assert (response.status_code, "This request is declared twice" in response.text) == (500, True)


async def test_cancelled_client_leaves_no_trace(revalidator: Revalidator) -> None:
    """A request that is cancelled in its `viewer` ends there, and the next one is answered as ever."""
    asked = asyncio.Event()

    async def viewer(request: AnyRequest, tenant: str) -> str:
        asked.set()
        if request.headers.get("x-slow"):
            await asyncio.Event().wait()
        return "ann"

    async with client_for(app_of(revalidator, labels, config={"viewer": viewer})) as client:
        slow = asyncio.create_task(client.get(LABELS, headers={"x-slow": "1"}))
        await asyncio.wait_for(asked.wait(), 10)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        match = {"if-none-match": await etag_of(client)}
        assert (await client.get(LABELS, headers=match)).status_code == 304


def test_under_uvicorn() -> None:
    """Under a real server GET and HEAD are answered 304, and the keys endpoint's HEAD has its length and no body."""
    with (
        AppServer("tests.plugins.litestar_app:serve", factory=True) as server,
        httpx.Client(base_url=server.base_url, headers={"authorization": "Bearer ann"}) as client,
    ):
        etag = client.get(LABELS).headers["etag"]
        for method in ("GET", "HEAD"):
            response = client.request(method, LABELS, headers={"if-none-match": etag})
            assert (response.status_code, response.content) == (304, b"")
        assert client.post(LABELS).headers["cache-keys"].startswith("label=")
        assert client.get(LABELS, headers={"if-none-match": etag}).status_code == 200
        keys, head = client.get(f"{ACCOUNT}/cache_keys"), client.head(f"{ACCOUNT}/cache_keys")
        assert head.headers["content-length"] == str(len(keys.content))
        assert (head.status_code, head.content) == (200, b"")
        assert "Traceback" not in server.output()
