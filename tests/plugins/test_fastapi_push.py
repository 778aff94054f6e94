"""The FastAPI plugin pushes as all plugins do, and asks the app's own dependencies without holding what they open."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import OAuth2PasswordBearer

from cache_revalidate import EVERYONE, ConfigurationError, Hub, HubSettings, Revalidator, Viewer
from cache_revalidate.fastapi import Fresh
from tests.plugins.contract import KEYS, client_of
from tests.plugins.driving import driven
from tests.plugins.fastapi_app import PREFIX
from tests.plugins.push_contract import EVENTS, SOCKET, PushContract
from tests.push.waiting import until

SOON = HubSettings(recheck=0.1, heartbeat=0.5)


class TestPush(PushContract):
    """The routes of push, by the keys endpoint's."""

    app = "tests.plugins.fastapi_app:serve"
    schema_path = "/openapi.json"


class Sessions:
    """Counts the sessions of a database that are open, and that were opened."""

    def __init__(self) -> None:
        self.opened = 0
        self.open = 0

    async def session(self) -> AsyncIterator[str]:
        """Give one while a request needs it."""
        self.opened += 1
        self.open += 1
        try:
            yield "session"
        finally:
            self.open -= 1

    def sync_session(self) -> Iterator[str]:
        """Give one from a thread."""
        self.opened += 1
        self.open += 1
        try:
            yield "session"
        finally:
            self.open -= 1


def everyone() -> Viewer:
    """Let everyone in."""
    return EVERYONE


@pytest.fixture
def app() -> FastAPI:
    """An app without routes."""
    return FastAPI()


@pytest.mark.parametrize(("path", "kind"), [(EVENTS, "http"), (SOCKET, "websocket")])
async def test_no_session_is_held_open(revalidator: Revalidator, app: FastAPI, path: str, kind: str) -> None:
    """What the viewer's dependencies open is closed before the first event, and again whenever they are asked anew."""
    sessions = Sessions()
    seen: list[int] = []

    async def agent(
        account_id: int,
        session: Annotated[str, Depends(sessions.session)],
        other: Annotated[str, Depends(sessions.sync_session)],
    ) -> Viewer:
        seen.append(account_id)
        return EVERYONE

    Fresh(revalidator, viewer=agent).install(app, push=Hub(revalidator, settings=SOON))
    async with driven(app, path, type=kind) as connection:
        if kind == "websocket":
            connection.say({"type": "subscribe"})
            connection.say({"type": "subscribe", "account_id": 2})
            await until(lambda: '"account_id":2' in connection.text, "the first event of the other account")
        assert sessions.open == 0
        before = sessions.opened
        await until(lambda: sessions.opened >= before + 4 and sessions.open == 0, "two more questions", within=20)
        assert set(seen) == ({1} if kind == "http" else {1, 2})
    assert sessions.open == 0


async def test_dependency_that_takes_a_request_lets_sockets_in(revalidator: Revalidator, app: FastAPI) -> None:
    """FastAPI's own OAuth2 scheme, which it can't resolve for a WebSocket, is asked for one all the same."""
    scheme = OAuth2PasswordBearer("/token")

    async def agent(token: Annotated[str, Depends(scheme)], request: Request) -> str:
        assert request.url.scheme == "http"
        return token

    Fresh(revalidator, viewer=agent).install(app)
    async with driven(app, SOCKET, type="websocket") as socket:
        assert socket.status == 101
        socket.say({"type": "subscribe"})
        await until(lambda: revalidator.tag("ann") in socket.text, "the first event")
    async with driven(app, SOCKET, type="websocket", headers=[]) as socket:
        assert (socket.status, socket.headers["www-authenticate"]) == (401, "Bearer")


async def test_overridden_viewer(revalidator: Revalidator, app: FastAPI) -> None:
    """A test of the app's may override the dependency, while a stream is open too: who is refused then is sent away."""

    def refuse() -> Viewer:
        raise HTTPException(402)

    Fresh(revalidator, viewer=everyone).install(app, push=Hub(revalidator, settings=SOON))
    async with driven(app, EVENTS) as stream, driven(app, SOCKET, type="websocket") as socket:
        socket.say({"type": "subscribe"})
        await until(lambda: "jitter_ms" in socket.text, "the first event")
        app.dependency_overrides[everyone] = refuse
        await until(lambda: stream.is_over and socket.is_over, "the ends of both")
        assert '"code":4403' in stream.text
        assert (socket.sent[-1]["type"], socket.sent[-1]["code"]) == ("websocket.close", 4403)
    for path, kind in ((EVENTS, "http"), (SOCKET, "websocket")):
        async with driven(app, path, type=kind) as connection:
            assert connection.status == 402


async def test_routers_around_have_their_say(revalidator: Revalidator, app: FastAPI) -> None:
    """Dependencies of the routers that include the keys endpoint let no stream and no socket of it pass them by."""

    def known_agents(request: Request) -> None:
        if request.headers.get("authorization") != "Bearer ann":
            raise HTTPException(401)

    def own_accounts(account_id: int) -> None:
        if account_id == 3:
            raise HTTPException(403)

    inner = APIRouter(dependencies=[Depends(own_accounts)])
    inner.include_router(Fresh(revalidator, viewer=everyone).keys_router("/cache_keys"))
    outer = APIRouter(prefix=PREFIX, dependencies=[Depends(known_agents)])
    outer.include_router(inner)
    app.include_router(outer)
    for path, kind in ((EVENTS, "http"), (SOCKET, "websocket")):
        for headers, account, status in (
            ([], 1, 401),
            ([(b"authorization", b"Bearer ann")], 3, 403),
            ([(b"authorization", b"Bearer ann")], 1, 101 if kind == "websocket" else 200),
        ):
            at = path.replace("/1/", f"/{account}/")
            async with driven(app, at, type=kind, headers=headers) as connection:
                assert connection.status == status
                if status == 101:
                    connection.say({"type": "subscribe", "account_id": 3})
                    await until(lambda: '"refused"' in connection.text, "a refusal")


async def test_answer_of_the_apps_exception_handler(revalidator: Revalidator, app: FastAPI) -> None:
    """What the app makes of an exception of its own is what a caller is refused with."""

    class AwayError(Exception):
        pass

    def agent() -> Viewer:
        raise AwayError

    @app.exception_handler(AwayError)
    async def away(request: Request, error: Exception) -> Response:
        return JSONResponse({"away": request.url.path}, 409, {"x-away": "yes"})

    Fresh(revalidator, viewer=agent).install(app)
    for path, kind in ((EVENTS, "http"), (SOCKET, "websocket")):
        async with driven(app, path, type=kind) as connection:
            assert (connection.status, connection.headers["x-away"]) == (409, "yes")
            assert EVENTS in connection.text


async def test_failing_viewer(revalidator: Revalidator, app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is the app's to answer, at first; while a stream is open it is a refusal, and is logged."""
    fails = False

    def agent() -> Viewer:
        if fails:
            raise LookupError("the database is away")
        return EVERYONE

    Fresh(revalidator, viewer=agent).install(app, push=Hub(revalidator, settings=SOON))
    async with driven(app, EVENTS) as stream:
        fails = True
        await until(lambda: stream.is_over, "the end")
        assert '"code":4403' in stream.text
    assert "the database is away" in caplog.text
    async with client_of(app, raises=False) as client:
        assert (await client.get(EVENTS)).status_code == 500


@pytest.mark.parametrize("viewer", [None, 7])
async def test_no_viewer_is_refused(revalidator: Revalidator, app: FastAPI, viewer: object) -> None:
    """A dependency that returns no viewer refuses: 403, as at the keys endpoint."""
    Fresh(revalidator, viewer=lambda: viewer).install(app)
    async with client_of(app) as client:
        refused = await client.get(EVENTS)
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")


async def test_mounted_app(revalidator: Revalidator, app: FastAPI) -> None:
    """An app that is mounted in another one finds its own routes again when it is asked."""
    outer = FastAPI()
    outer.mount("/desk/{desk}", app)
    Fresh(revalidator, viewer=everyone).install(app)
    for path, kind, status in ((EVENTS, "http", 200), (SOCKET, "websocket", 101)):
        async with driven(outer, f"/desk/7{path}", type=kind) as connection:
            assert connection.status == status


@pytest.mark.parametrize("parameter", ["{workspace}", "{workspace:uuid}"])
async def test_uuid_tenant(revalidator: Revalidator, app: FastAPI, parameter: str) -> None:
    """A UUID is one tenant, however a message spells it, and the dependency is shown it as the path has it."""
    seen: list[UUID] = []

    def agent(workspace: UUID) -> Viewer:
        seen.append(workspace)
        return EVERYONE

    fresh = Fresh(revalidator, viewer=agent, tenant="workspace", tenant_type=UUID)
    fresh.install(app, keys_path=f"/{parameter}/keys")
    one, other = "c0ffee00-0000-4000-8000-00000000abcd", "c0ffee00-0000-4000-8000-00000000dcba"
    async with driven(app, f"/{one}/keys/socket", type="websocket") as socket:
        socket.say({"type": "subscribe", "account_id": other.upper()})
        await until(lambda: f'"account_id":"{other}"' in socket.text, "the first event")
        assert seen == [UUID(one), UUID(other)]
    async with client_of(app) as client:
        assert (await client.get("/none/keys/events")).status_code in {404, 422}


async def test_declared_router_around(revalidator: Revalidator, app: FastAPI) -> None:
    """A router that declares what depends on models may hold the routes of push, whose answers are no resources."""
    fresh = Fresh(revalidator, viewer=everyone)
    fresh.install(app, keys_path=None)
    router = APIRouter(prefix=PREFIX, dependencies=[Depends(fresh("label"))])
    router.include_router(fresh.keys_router("/cache_keys", push=Hub(revalidator, settings=SOON)))
    app.include_router(router)
    async with driven(app, EVENTS) as stream:
        assert "etag" not in stream.headers
        await until(lambda: "heartbeat" in stream.text, "a heartbeat, after some more questions")
        assert not stream.is_over


async def test_without_push(revalidator: Revalidator, app: FastAPI) -> None:
    """There are no routes of push where there is to be none, and none of tickets where the hub has none."""
    Fresh(revalidator, viewer=everyone).install(app, push=False)
    other = FastAPI()
    Fresh(revalidator, viewer=everyone).install(other)
    async with client_of(app) as client, client_of(other) as with_push:
        assert (await client.get(EVENTS)).status_code == 404
        assert [*(await client.get("/openapi.json")).json()["paths"]] == [f"{PREFIX}/cache_keys"]
        schema = (await with_push.get("/openapi.json")).json()
        assert [*schema["paths"]] == [f"{PREFIX}/cache_keys", f"{PREFIX}/cache_keys/events"]
        parameters = schema["paths"][f"{PREFIX}/cache_keys/events"]["get"]["parameters"]
        assert "ticket" not in {each["name"] for each in parameters}
        assert (await with_push.post(f"{KEYS}/ticket")).status_code == 404


def test_hub_of_another_revalidator_is_an_error(revalidator: Revalidator, app: FastAPI) -> None:
    """A hub tells of one revalidator's tokens: another's is refused at once."""
    with pytest.raises(ConfigurationError, match="another revalidator"):
        Fresh(revalidator, viewer=everyone).install(app, push=Hub(Revalidator(["label"])))
