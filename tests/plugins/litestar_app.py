"""The desk as a Litestar app, its handlers declared by their router's `opt`, behind a guard and a session."""

from pathlib import Path
from typing import Any, cast

from litestar import Litestar, Request, Response, Router, get, post, route
from litestar.config.compression import CompressionConfig
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, NotFoundException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.params import FromPath
from litestar.response import File, Stream

from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from cache_revalidate.types import ASGIApp
from tests.plugins.desk import Backstage, Desk, NumberedSessions, SorryError

PREFIX = "/api/v1/accounts/{account_id:int}"
AnyConnection = ASGIConnection[Any, Any, Any, Any]
AnyRequest = Request[Any, Any, Any]


class Agent:
    """A signed-in agent, and the accounts that they may see."""

    def __init__(self, name: str, accounts: set[str]) -> None:
        self.name = name
        self.accounts = accounts


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """Signs in who bears the token of one of the desk's agents."""

    def __init__(self, app: Any, desk: Desk) -> None:
        super().__init__(app)
        self._desk = desk

    async def authenticate_request(self, connection: AnyConnection) -> AuthenticationResult:
        """Return the agent; answer 401 if there is none."""
        found = self._desk.accounts_of(connection.headers.get("authorization"))
        if found is None:
            raise NotAuthorizedException
        return AuthenticationResult(Agent(*found), None)


def agent_of_account(request: AnyRequest, tenant: str) -> str | None:
    """Let an agent of the account in."""
    agent = request.scope.get("user")
    return agent.name if isinstance(agent, Agent) and tenant in agent.accounts else None


def agents_only(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Guard an account against all but its agents."""
    if str(connection.path_params["account_id"]) not in connection.user.accounts:
        raise PermissionDeniedException


def apologise(request: AnyRequest, error: SorryError) -> Response[dict[str, bool]]:
    """Answer a failure with a 200."""
    return Response({"sorry": True})


def make_app(  # noqa: C901 - one handler after another
    desk: Desk, *, guards_push: bool = False, compression: CompressionConfig | None = None
) -> Litestar:
    """Return the app around a desk; the endpoints of push stand by the keys endpoint's, or in the guarded router."""

    @route("/labels", http_method=["GET", "HEAD"])
    async def labels(request: AnyRequest, account_id: FromPath[int]) -> dict[str, object]:
        return desk.labels(request.user.name, account_id)

    @post("/labels")
    async def create_label(account_id: FromPath[int]) -> None:
        await desk.revalidator.bump(account_id, "label")

    @get("/stream")
    async def stream() -> Stream:
        return Stream(desk.chunks())

    @get("/file")
    async def file() -> File:
        return File(desk.file)

    @get("/session")
    async def session(request: AnyRequest) -> str:
        return str(request.user.name)

    @get("/bumping", sync_to_thread=True)
    def bumping() -> str:
        desk.revalidator.sync.bump(1, "label")
        return "as it was"

    @get("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    @get("/missing")
    async def missing() -> None:
        raise NotFoundException

    @get("/sorry")
    async def sorry() -> None:
        raise SorryError

    keys_path = None if guards_push else f"{PREFIX}/cache_keys"
    plugin = RevalidatePlugin(
        RevalidateConfig(desk.revalidator, viewer=agent_of_account, push=desk.hub, keys_path=keys_path)
    )
    router = Router(
        PREFIX,
        route_handlers=[labels, create_label, stream, file, session, bumping, broken, missing, sorry],
        guards=[agents_only],
        opt={"revalidate": ["label"]},
    )
    if guards_push:
        for handler in (plugin.keys_handler("/cache_keys"), *plugin.push_handlers("/cache_keys")):
            router.register(handler)
    return Litestar(
        route_handlers=[router],
        middleware=[
            CookieBackendConfig(secret=b"not a secret, 16").middleware,
            DefineMiddleware(cast("Any", NumberedSessions)),
            DefineMiddleware(BearerAuthentication, desk=desk),
        ],
        exception_handlers={SorryError: apologise},
        compression_config=compression,
        plugins=[plugin],
        logging_config=None,
    )


def serve() -> ASGIApp:
    """Return an app for a server to run, which compresses what it can."""
    desk = Desk(Path(__file__))
    app = make_app(desk, compression=CompressionConfig(backend="gzip", minimum_size=1))
    return Backstage(cast("ASGIApp", app), desk)


def serve_guarded() -> ASGIApp:
    """Return an app whose endpoints of push are guarded, and which has a name of its own for what is not compressed."""
    desk = Desk(Path(__file__))
    compression = CompressionConfig(backend="gzip", minimum_size=1, exclude_opt_key="plain")
    return Backstage(cast("ASGIApp", make_app(desk, guards_push=True, compression=compression)), desk)
