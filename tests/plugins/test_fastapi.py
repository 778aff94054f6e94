"""The FastAPI plugin keeps the plugins' contract, and fits FastAPI's own ways."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.base import BaseHTTPMiddleware

from cache_revalidate import (
    EVERYONE,
    CacheControl,
    CacheRevalidateMiddleware,
    ConfigurationError,
    Grant,
    MemoryStore,
    Revalidator,
    UnknownModelError,
    Viewer,
    allow_everyone,
)
from cache_revalidate.fastapi import Fresh
from cache_revalidate.types import ASGIApp, Message
from tests.plugins import fastapi_app
from tests.plugins.contract import KEYS, LABELS, PluginContract, client_of, etag_of, get_scope
from tests.plugins.desk import Desk
from tests.plugins.fastapi_app import PREFIX
from tests.support.servers import AppServer


class TestDependency(PluginContract):
    """Routes declared by a dependency behind the app's own authentication."""

    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the FastAPI app."""
        return fastapi_app.make_app(desk)

    async def test_user_is_asked_for_once(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """The handler's own use of the authentication dependency is that of the declaration: it runs once."""
        await client.get(LABELS)
        assert desk.asked == 1

    @pytest.mark.parametrize("spelling", ["%2B1", "1.0", "%201"])
    async def test_other_spellings_of_the_tenant(self, client: httpx.AsyncClient, spelling: str) -> None:
        """What FastAPI takes for account 1 shares its tokens, or gets no tag (rule 22)."""
        response = await client.get(f"/api/v1/accounts/{spelling}/labels")
        assert response.json() == {"agent": "ann", "account": 1}
        tokens = (await client.get(LABELS)).headers["cache-keys"]
        assert response.headers.get("cache-keys", tokens) == tokens

    async def test_underscored_tenant(self, app: ASGIApp, client: httpx.AsyncClient, desk: Desk) -> None:
        """`1_0` is account 10, as FastAPI has it, not account 1 and none of its own."""
        desk.agents["ann"].add("10")
        response = await client.get("/api/v1/accounts/1_0/labels")
        assert response.json()["account"] == 10
        assert response.headers["cache-keys"] == f'label="{(await desk.revalidator.tokens(10, "label"))["label"]}"'


@pytest.fixture
def app() -> FastAPI:
    """An app without routes."""
    return FastAPI()


@pytest.fixture
def fresh(revalidator: Revalidator, app: FastAPI) -> Fresh:
    """A declaration to which all viewers are the same, installed."""
    fresh = Fresh(revalidator, viewer=everyone)
    fresh.install(app)
    return fresh


def everyone() -> Viewer:
    """Let everyone in."""
    return EVERYONE


def rows() -> list[str]:
    """Answer, for routes whose handler does not matter."""
    return ["rows"]


async def is_revalidated(app: ASGIApp, path: str = LABELS) -> bool:
    """Say whether a second GET is answered 304, with the tag that it asked for."""
    async with client_of(app) as client:
        etag = await etag_of(client, path)
        response = await client.get(path, headers={"if-none-match": etag})
        return (response.status_code, response.headers["etag"], response.content) == (304, etag, b"")


async def test_router_is_declared(desk: Desk) -> None:
    """A router's declaration gives its GETs 304s and its writes Cache-Keys, once the router's users are let in."""

    def signed_in(request: Request) -> str:
        found = desk.accounts_of(request.headers.get("authorization"))
        if found is None:
            raise HTTPException(401)
        return found[0]

    def agent_of_account(account_id: int, agent: Annotated[str, Depends(signed_in)]) -> str:
        if str(account_id) not in desk.agents[agent]:
            raise HTTPException(403)
        return agent

    fresh = Fresh(desk.revalidator, viewer=agent_of_account)
    router = APIRouter(prefix=PREFIX, dependencies=[Depends(agent_of_account), Depends(fresh("label"))])
    router.add_api_route("/labels", rows)

    @router.post("/labels")
    def create_label(account_id: int) -> None:
        desk.revalidator.sync.bump(account_id, "label")

    app = FastAPI(dependencies=[Depends(signed_in)])
    fresh.install(app)
    app.include_router(router)

    assert await is_revalidated(app)
    async with client_of(app) as ann, client_of(app, "bob") as bob, client_of(app, None) as nobody:
        match = {"if-none-match": await etag_of(ann)}
        assert (await ann.post(LABELS)).headers["cache-keys"].startswith("label=")
        assert (await bob.get(LABELS, headers=match)).status_code == 403
        assert (await nobody.get(LABELS, headers=match)).status_code == 401
        desk.agents["ann"].clear()
        assert (await ann.get(LABELS, headers=match)).status_code == 403


async def test_last_parameter_decides_after_all_others(fresh: Fresh, app: FastAPI) -> None:
    """As the handler's last parameter the declaration lets every other dependency refuse first."""
    admins = {"ann"}

    def admin() -> None:
        if not admins:
            raise HTTPException(403)

    @app.get(f"{PREFIX}/labels")
    def labels(admin: Annotated[None, Depends(admin)], fresh: Annotated[None, Depends(fresh("label"))]) -> list[str]:
        return rows()

    async with client_of(app) as client:
        match = {"if-none-match": await etag_of(client)}
        assert (await client.get(LABELS, headers=match)).status_code == 304
        admins.clear()
        assert (await client.get(LABELS, headers=match)).status_code == 403


async def test_not_modified_passes_the_apps_handlers(fresh: Fresh, app: FastAPI) -> None:
    """The app's handlers, of every HTTPException or of every exception at all, don't see a 304 of ours."""
    handled: list[Exception] = []

    async def handle(request: Request, error: Exception) -> Response:
        handled.append(error)
        return JSONResponse({"error": True}, 418)

    app.add_exception_handler(HTTPException, handle)
    app.add_exception_handler(RequestValidationError, handle)
    app.add_exception_handler(Exception, handle)
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
    app.add_api_route("/failing", lambda: 1 / 0)
    assert await is_revalidated(app)
    assert handled == []
    async with client_of(app, raises=False) as client:
        assert (await client.get("/failing")).status_code == 418


async def test_not_modified_passes_yielding_dependencies(fresh: Fresh, app: FastAPI) -> None:
    """A dependency with `yield` cleans up before a 304, and what it does to other exceptions does not touch that."""
    events: list[str] = []

    def session() -> Iterator[None]:
        events.append("opened")
        try:
            yield
        except HTTPException:
            events.append("rolled back")
            raise
        except Exception as error:
            raise HTTPException(500) from error
        finally:
            events.append("closed")

    dependencies = [Depends(session), Depends(fresh("label"))]
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=dependencies)
    assert await is_revalidated(app)
    assert events == ["opened", "closed", "opened", "rolled back", "closed"]


async def test_not_modified_passes_other_middleware(revalidator: Revalidator) -> None:
    """Middleware of the app's, around ours or within it, sees the 304 as any other answer."""
    statuses: list[int] = []

    async def note(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        statuses.append(response.status_code)
        response.headers["x-seen"] = "yes"
        return response

    app = FastAPI()
    app.add_middleware(BaseHTTPMiddleware, dispatch=note)
    fresh = Fresh(revalidator, viewer=everyone)
    fresh.install(app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=note)
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])

    @app.post(f"{PREFIX}/labels", dependencies=[Depends(fresh("label"))])
    def create_label() -> None:
        revalidator.sync.bump(1, "label")

    assert await is_revalidated(app)
    assert statuses == [200, 200, 304, 304]
    async with client_of(app) as client:
        assert (await client.post(LABELS)).headers["cache-keys"].startswith("label=")


async def test_tag_survives_a_response_of_the_handlers(fresh: Fresh, app: FastAPI) -> None:
    """A handler that returns a Response of its own gets the tag, and its headers win."""

    @app.get(f"{PREFIX}/labels", dependencies=[Depends(fresh("label", cache_control=CacheControl(max_age=5)))])
    def labels(plain: bool = False) -> Response:
        return Response("rows", headers={} if plain else {"cache-control": "max-age=1", "vary": "Accept"})

    assert await is_revalidated(app)
    async with client_of(app) as client:
        response = await client.get(LABELS)
        assert response.headers["cache-control"] == "max-age=1"
        assert response.headers["vary"] == "Accept, Authorization, Cookie"
        assert (await client.get(f"{LABELS}?plain=1")).headers["cache-control"] == "max-age=5, private"


async def test_invalid_request_gets_no_tag(fresh: Fresh, app: FastAPI) -> None:
    """FastAPI's 422 is an error, and an error gets no tag."""

    @app.get(f"{PREFIX}/labels", dependencies=[Depends(fresh("label"))])
    def labels(page: int) -> list[str]:
        return rows()

    async with client_of(app) as client:
        response = await client.get(f"{LABELS}?page=first")
        assert response.status_code == 422
        assert "etag" not in response.headers


async def test_overridden_viewer(fresh: Fresh, app: FastAPI) -> None:
    """A test of the app's may override the authentication dependency, as FastAPI has it."""

    def refuse() -> Viewer:
        raise HTTPException(401)

    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
    assert await is_revalidated(app)
    app.dependency_overrides[everyone] = refuse
    async with client_of(app) as client:
        assert (await client.get(LABELS)).status_code == 401


async def test_viewer_until_a_time(revalidator: Revalidator, app: FastAPI) -> None:
    """A dependency may return a grant: its viewer's answers have the tag that they have without an end."""
    fresh = Fresh(revalidator, viewer=lambda: Grant(EVERYONE, expires_at=time.time() + 60))
    fresh.install(app)
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
    assert await is_revalidated(app)
    async with client_of(app) as client:
        assert (await client.get(KEYS)).json()["tag"] == revalidator.tag(EVERYONE)


@pytest.mark.parametrize("viewer", [None, 7, "", Grant(EVERYONE, expires_at=1.0)])
async def test_no_viewer_has_the_handler_run(revalidator: Revalidator, app: FastAPI, viewer: object) -> None:
    """Where the dependency returns no viewer the handler answers as if undeclared, and the keys endpoint 403."""
    fresh = Fresh(revalidator, viewer=lambda: viewer)
    fresh.install(app)
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
    async with client_of(app) as client:
        response = await client.get(LABELS)
        assert (response.status_code, response.json()) == (200, ["rows"])
        assert "etag" not in response.headers
        refused = await client.get(KEYS)
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")


async def test_mounted_app(fresh: Fresh, app: FastAPI, revalidator: Revalidator) -> None:
    """A mounted app works once the declaration is installed there, and says so where it is not."""
    for name, is_installed in (("with", True), ("without", False)):
        inner = FastAPI()
        inner.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
        if is_installed:
            fresh.install(inner, keys_path=None)
        app.mount(f"/{name}", inner)
    assert await is_revalidated(app, f"/with{LABELS}")
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match=r"fresh\.install\(app\)"):
            await client.get(f"/without{LABELS}")
        assert (await client.get(f"/with{KEYS}")).status_code == 404


async def test_missing_installation_is_an_error(revalidator: Revalidator, app: FastAPI) -> None:
    """Where nothing, or another revalidator's declaration, is installed, a declared route says what to call."""
    fresh, other = Fresh(revalidator, viewer=everyone), Fresh(Revalidator(["label"]), viewer=everyone)
    other.install(app)
    bare = FastAPI()
    for each in (app, bare):
        each.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
        async with client_of(each) as client:
            with pytest.raises(ConfigurationError, match=r"fresh\.install\(app\)"):
                await client.get(LABELS)


async def test_declared_twice_is_an_error(fresh: Fresh, app: FastAPI, revalidator: Revalidator) -> None:
    """A router and its route, or a route table and a route, that both declare a request are refused."""
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label")), Depends(fresh("team"))])
    app.add_api_route(f"{PREFIX}/teams", rows, dependencies=[Depends(fresh("team"))])
    app.add_middleware(
        CacheRevalidateMiddleware,
        revalidator=revalidator,
        authorize=allow_everyone,
        routes={f"{PREFIX.replace('id', 'id:int')}/teams": ["team"]},
    )
    async with client_of(app) as client:
        for name in ("labels", "teams"):
            with pytest.raises(ConfigurationError, match="declared twice"):
                await client.get(f"/api/v1/accounts/1/{name}")


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        ({"viewer": None}, "viewer=lambda: EVERYONE"),
        ({"viewer": "ann"}, "viewer is a str"),
        ({"revalidator": None}, "pass the Revalidator"),
        ({"tenant_type": "int"}, "say int, UUID"),
    ],
)
def test_what_could_not_work_is_refused(revalidator: Revalidator, options: dict[str, Any], mend: str) -> None:
    """A wrong option is an error when `Fresh` is made, and the message names the mend."""
    defaults: dict[str, Any] = {"revalidator": revalidator, "viewer": everyone}
    with pytest.raises(ConfigurationError, match=mend):
        Fresh(**defaults | options)


def test_unknown_model_is_an_error_when_declared(fresh: Fresh) -> None:
    """A model that the revalidator does not have is refused before any request comes."""
    with pytest.raises(UnknownModelError, match="'lable'"):
        fresh("lable")
    with pytest.raises(ConfigurationError, match="at least one model"):
        fresh()


async def test_path_without_tenant_is_an_error(fresh: Fresh, app: FastAPI) -> None:
    """A declared route whose path has no tenant says so, and so does a keys endpoint, when it is made."""
    app.add_api_route("/labels", rows, dependencies=[Depends(fresh("label"))])
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match="no parameter 'account_id'"):
            await client.get("/labels")
    with pytest.raises(ConfigurationError, match=r"\{account_id\}"):
        fresh.install(FastAPI(), keys_path="/cache_keys")


def test_string_tenant_is_an_error(revalidator: Revalidator) -> None:
    """A tenant that stays a string may be spelled in several ways: it is refused, with the ways out."""
    with pytest.raises(ConfigurationError, match="tenant_type=int"):
        Fresh(revalidator, viewer=everyone, tenant_type=str)


async def test_uuid_tenant(app: FastAPI, revalidator: Revalidator) -> None:
    """A UUID is one tenant, however it is written, and what is none is FastAPI's to refuse."""
    fresh = Fresh(revalidator, viewer=everyone, tenant="workspace", tenant_type=UUID)
    fresh.install(app, keys_path="/{workspace}/cache_keys")

    @app.get("/{workspace}/labels", dependencies=[Depends(fresh("label"))])
    def labels(workspace: UUID) -> str:
        return str(workspace)

    uuid = "c0ffee00-0000-4000-8000-00000000abcd"
    async with client_of(app) as client:
        answers = [await client.get(f"/{spelling}/labels") for spelling in (uuid, uuid.upper(), uuid.replace("-", ""))]
        token = (await revalidator.tokens(uuid, "label"))["label"]
        assert {answer.headers["cache-keys"] for answer in answers} == {f'label="{token}"'}
        for name in ("labels", "cache_keys"):
            assert (await client.get(f"/none/{name}")).status_code == 422


async def test_impossible_number(fresh: Fresh, app: FastAPI) -> None:
    """A number that FastAPI takes and no tenant has is 404 at the keys endpoint, and the handler's elsewhere."""
    app.add_api_route(f"{PREFIX}/labels", rows, dependencies=[Depends(fresh("label"))])
    async with client_of(app) as client:
        keys = await client.get("/api/v1/accounts/-1/cache_keys")
        assert (keys.status_code, keys.headers["content-type"]) == (404, "application/problem+json")
        response = await client.get("/api/v1/accounts/-1/labels")
        assert response.json() == ["rows"]
        assert "etag" not in response.headers


async def test_typed_path_parameter(fresh: Fresh, app: FastAPI) -> None:
    """A path that converts the tenant itself, in Starlette's way, is taken as it is."""
    app.add_api_route(f"{PREFIX.replace('id', 'id:int')}/labels", rows, dependencies=[Depends(fresh("label"))])
    assert await is_revalidated(app)


async def test_websockets_of_a_declared_router(fresh: Fresh, app: FastAPI) -> None:
    """A declared router's websockets are left alone."""
    router = APIRouter(prefix=PREFIX, dependencies=[Depends(fresh("label"))])

    @router.websocket("/events")
    async def events(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app.include_router(router)
    scope = {**get_scope("/api/v1/accounts/1/events"), "type": "websocket", "scheme": "ws", "subprotocols": []}
    sent: asyncio.Queue[Message] = asyncio.Queue()
    received: asyncio.Queue[Message] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    await app(scope, received.get, sent.put)
    assert [sent.get_nowait()["type"] for _ in range(3)] == ["websocket.accept", "websocket.send", "websocket.close"]


async def test_keys_endpoint_in_openapi(fresh: Fresh, app: FastAPI) -> None:
    """The schema shows the keys endpoint once, with its parameter, its answer and its refusals."""
    async with client_of(app) as client:
        schema = (await client.get("/openapi.json")).json()
    operations = schema["paths"][f"{PREFIX}/cache_keys"]
    assert list(operations) == ["get"]
    operation = operations["get"]
    assert [(each["name"], each["schema"]["type"]) for each in operation["parameters"]] == [("account_id", "integer")]
    assert set(operation["responses"]) >= {"200", "304", "401", "403", "503"}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/CacheKeys")
    assert set(schema["components"]["schemas"]["CacheKeys"]["required"]) == {"cache_keys", "tag"}


async def test_keys_router_of_a_router(revalidator: Revalidator, app: FastAPI) -> None:
    """The keys endpoint may stand in a router of the app's, whose prefix has the tenant, with headers of its own."""
    fresh = Fresh(revalidator, viewer=everyone)
    accounts = APIRouter(prefix=PREFIX)
    accounts.include_router(fresh.keys_router("/keys", cache_control=CacheControl(), vary=["X-Agent"]))
    app.include_router(accounts)
    async with client_of(app) as client:
        response = await client.get("/api/v1/accounts/1/keys")
    assert response.json()["cache_keys"] == await revalidator.tokens(1)
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["vary"] == "X-Agent"


class NotingStore(MemoryStore):
    """A store that notes when it is checked and closed."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self._events = events

    async def check(self) -> None:
        """Note the check."""
        self._events.append("store checked")

    async def aclose(self) -> None:
        """Note the closing."""
        self._events.append("store closed")


async def test_lifespan_comes_with_the_keys_endpoint() -> None:
    """The store is checked and closed with the app, within the app's own lifespan, whose state stays."""
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        events.append("app begins")
        yield {"pool": 1}
        events.append("app ends")

    app = FastAPI(lifespan=lifespan)
    Fresh(Revalidator(["label"], NotingStore(events)), viewer=everyone).install(app)
    async with app.router.lifespan_context(app) as state:
        assert state == {"pool": 1}
    assert events == ["app begins", "store checked", "store closed", "app ends"]


def test_under_uvicorn() -> None:
    """A real server sends the 304, and starts and ends the app's lifespan."""
    server = AppServer("tests.plugins.fastapi_app:serve", factory=True)
    with server, httpx.Client(base_url=server.base_url, headers={"authorization": "Bearer ann"}) as client:
        for path in (LABELS, KEYS):
            etag = client.get(path).headers["etag"]
            second = client.get(path, headers={"if-none-match": etag})
            assert (second.status_code, second.content) == (304, b"")
        assert client.post(LABELS).headers["cache-keys"].startswith("label=")
