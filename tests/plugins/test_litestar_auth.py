"""The Litestar plugin behind Litestar's own authentication: no 304 passes by a refusal."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from litestar import Litestar, Router, get, post, route
from litestar.connection import ASGIConnection
from litestar.middleware.session.server_side import ServerSideSessionBackend, ServerSideSessionConfig
from litestar.params import FromPath
from litestar.security.jwt import JWTAuth, Token
from litestar.security.session_auth import SessionAuth

from cache_revalidate import Grant, Refused
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from tests.plugins.contract import KEYS, LABELS, client_of, etag_of
from tests.plugins.desk import Desk
from tests.plugins.litestar_app import PREFIX, Agent, AnyRequest, agent_of_account, agents_only

if TYPE_CHECKING:
    from cache_revalidate.types import ASGIApp


@route("/labels", http_method=["GET", "HEAD"])
async def labels() -> list[str]:
    """Answer a list that depends on labels."""
    return ["urgent"]


def router_of(**options: Any) -> Router:
    """Return the account's router, which declares its handlers."""
    return Router(PREFIX, route_handlers=[labels], opt={"revalidate": ["label"]}, **options)


def plugin_of(desk: Desk, **options: Any) -> RevalidatePlugin:
    """Return the plugin, which lets the agents of an account in."""
    return RevalidatePlugin(RevalidateConfig(desk.revalidator, **{"viewer": agent_of_account, **options}))


def jwt_of(desk: Desk, **options: Any) -> JWTAuth[Agent, Token]:
    """Return authentication by JWT, which signs the desk's agents in."""

    async def agent(token: Token, connection: ASGIConnection[Any, Any, Any, Any]) -> Agent | None:
        return Agent(token.sub, desk.agents[token.sub]) if token.sub in desk.agents else None

    return JWTAuth(retrieve_user_handler=agent, token_secret="not a secret, but 32 bytes long!!", **options)


def client_for(app: Litestar, authorization: str | None = None) -> httpx.AsyncClient:
    """Return a client of an app, which bears a token or none."""
    client = client_of(cast("ASGIApp", app), None)
    client.headers.update({"authorization": authorization} if authorization else {})
    return client


async def test_jwt_lets_anonymous_head_pass_and_it_learns_nothing(desk: Desk) -> None:
    """Litestar's JWT authentication skips HEAD: the handler answers that as it would, and a tag gets no 304."""
    auth = jwt_of(desk)
    app = Litestar([router_of()], on_app_init=[auth.on_app_init], plugins=[plugin_of(desk)], logging_config=None)
    async with client_for(app, auth.format_auth_header(auth.create_token("ann"))) as ann, client_for(app) as nobody:
        for path in (LABELS, KEYS):
            match = {"if-none-match": await etag_of(ann, path)}
            assert (await ann.get(path, headers=match)).status_code == 304
            assert (await nobody.get(path, headers=match)).status_code == 401
            for headers in ({}, match):
                response = await nobody.head(path, headers=headers)
                assert response.status_code == (200 if path == LABELS else 403)
                assert {"etag", "cache-keys"}.isdisjoint(response.headers)


async def test_jwt_that_takes_head_gives_its_304(desk: Desk) -> None:
    """Where the JWT is asked for with HEAD as well, HEAD is answered as GET is (rule 7)."""
    auth = jwt_of(desk, exclude_http_methods=["OPTIONS"])
    app = Litestar([router_of()], on_app_init=[auth.on_app_init], plugins=[plugin_of(desk)], logging_config=None)
    async with client_for(app, auth.format_auth_header(auth.create_token("ann"))) as ann, client_for(app) as nobody:
        for path in (LABELS, KEYS):
            match = {"if-none-match": await etag_of(ann, path)}
            assert (await ann.head(path, headers=match)).status_code == 304
            assert (await nobody.head(path, headers=match)).status_code == 401


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_revoked_jwt_gets_no_304(desk: Desk, path: str) -> None:
    """A token revoked between two requests is refused with 401, and so is one whose user is gone (rule 1)."""
    revoked: set[str] = set()

    async def is_revoked(token: Token, connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
        return token.sub in revoked

    auth = jwt_of(desk, revoked_token_handler=is_revoked)
    app = Litestar([router_of()], on_app_init=[auth.on_app_init], plugins=[plugin_of(desk)], logging_config=None)
    bearers = {name: client_for(app, auth.format_auth_header(auth.create_token(name))) for name in ("ann", "abe")}
    matches = {name: {"if-none-match": await etag_of(client, path)} for name, client in bearers.items()}
    revoked.add("ann")
    del desk.agents["abe"]
    for name, client in bearers.items():
        assert (await client.get(path, headers=matches[name])).status_code == 401
        await client.aclose()


@pytest.fixture
def session_app(desk: Desk) -> Litestar:
    """An app whose agents sign in with a session of Litestar's, set by a middleware around the handlers."""

    async def agent(session: dict[str, Any], connection: ASGIConnection[Any, Any, Any, Any]) -> Agent | None:
        name = session.get("agent")
        return Agent(name, desk.agents[name]) if name in desk.agents else None

    @post("/login/{name:str}", exclude_from_auth=True)
    async def login(name: FromPath[str], request: AnyRequest) -> None:
        request.set_session({"agent": name})

    auth = SessionAuth[Agent, ServerSideSessionBackend](
        session_backend_config=ServerSideSessionConfig(), retrieve_user_handler=agent
    )
    return Litestar(
        [login, router_of(guards=[agents_only])],
        on_app_init=[auth.on_app_init],
        plugins=[plugin_of(desk)],
        logging_config=None,
    )


@asynccontextmanager
async def signed_in(app: Litestar, name: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client with the session of an agent."""
    async with client_for(app) as client:
        assert (await client.post(f"/login/{name}")).status_code == 201
        yield client


async def test_session_is_asked_before_the_304(session_app: Litestar, desk: Desk) -> None:
    """With session authentication, too: 304 for who is signed in, 401 without a session, 403 without the account."""
    async with signed_in(session_app, "ann") as ann, client_for(session_app) as nobody:
        match = {"if-none-match": await etag_of(ann)}
        assert (await ann.get(LABELS, headers=match)).status_code == 304
        assert (await nobody.get(LABELS, headers=match)).status_code == 401
        response = await nobody.head(KEYS, headers=match)
        assert (response.status_code, "etag" in response.headers) == (403, False)
        desk.agents["ann"].clear()
        assert (await ann.get(LABELS, headers=match)).status_code == 403
        del desk.agents["ann"]
        assert (await ann.get(LABELS, headers=match)).status_code == 401


async def test_sessions_stay_with_their_users(session_app: Litestar) -> None:
    """The cookie that a 304 sets is that of the user who asked (rule 21)."""
    async with signed_in(session_app, "ann") as ann, signed_in(session_app, "abe") as abe:
        own = {client: client.cookies["session"] for client in (ann, abe)}
        assert own[ann] != own[abe]
        match = {client: {"if-none-match": await etag_of(client)} for client in (ann, abe)}
        for client in (ann, abe, ann, abe):
            response = await client.get(LABELS, headers=match[client])
            assert response.status_code == 304
            assert response.cookies["session"] == own[client]


async def test_keys_endpoint_in_a_router_of_its_own(desk: Desk) -> None:
    """Where a router alone authenticates, the keys endpoint goes into it, and is guarded with the rest."""
    auth = jwt_of(desk)
    plugin = plugin_of(desk, keys_path=None)
    router = router_of(middleware=[auth.middleware], guards=[agents_only])
    router.register(plugin.keys_handler("/cache_keys"))
    app = Litestar([router], plugins=[plugin], logging_config=None)
    bearers = [client_for(app, auth.format_auth_header(auth.create_token(name))) for name in ("ann", "bob")]
    async with bearers[0] as ann, bearers[1] as bob, client_for(app) as nobody:
        for path in (LABELS, KEYS):
            match = {"if-none-match": await etag_of(ann, path)}
            assert (await ann.get(path, headers=match)).status_code == 304
            refused = await bob.get(path, headers=match)
            assert (refused.status_code, refused.json()["detail"]) == (403, "Forbidden")
            assert (await nobody.get(path, headers=match)).status_code == 401
        await desk.revalidator.bump(1, "label")
        assert (await ann.get(KEYS)).json()["cache_keys"] == await desk.revalidator.tokens(1)


async def test_keys_endpoint_has_the_apps_guards(desk: Desk) -> None:
    """Guards of the app run for the keys endpoint as for any handler."""
    auth = jwt_of(desk)

    @get("/public", exclude_from_auth=True)
    async def public() -> str:
        return "hello"

    app = Litestar(
        [router_of(), public],
        on_app_init=[auth.on_app_init],
        guards=[agents_only],
        plugins=[plugin_of(desk)],
        logging_config=None,
        openapi_config=None,
    )
    async with client_for(app, auth.format_auth_header(auth.create_token("bob"))) as bob:
        assert (await bob.get(KEYS)).json()["detail"] == "Forbidden"
        assert (await bob.get(KEYS.replace("1/cache", "2/cache"))).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(60, 200), (-60, 403)])
async def test_viewer_until_a_time(desk: Desk, seconds: float, status: int) -> None:
    """A viewer may be a grant: it is let in until that is over."""

    def viewer(request: AnyRequest, tenant: str) -> Grant:
        return Grant("ann", expires_at=time.time() + seconds)

    app = Litestar([router_of()], plugins=[plugin_of(desk, viewer=viewer)], logging_config=None)
    async with client_for(app) as client:
        assert (await client.get(KEYS)).status_code == status
        assert ("etag" in (await client.get(LABELS)).headers) is (status == 200)


async def test_viewer_may_challenge(desk: Desk) -> None:
    """A viewer that raises `Refused` with a challenge has the keys endpoint answer 401, and leaves lists alone."""

    def viewer(request: AnyRequest, tenant: str) -> str:
        raise Refused('Bearer realm="desk"')

    app = Litestar([router_of()], plugins=[plugin_of(desk, viewer=viewer)], logging_config=None)
    async with client_for(app) as client:
        response = await client.get(KEYS)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer realm="desk"')
        assert response.headers["cache-control"] == "no-store"
        assert response.json()["title"] == "Unauthorized"
        assert (await client.get(LABELS)).status_code == 200
