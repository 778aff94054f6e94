"""The desk as a Starlette app, its endpoints declared by decorator."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser, requires
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cache_revalidate.starlette import FreshWhen
from cache_revalidate.types import ASGIApp
from tests.plugins.desk import Backstage, Desk, NumberedSessions, SorryError

PREFIX = "/api/v1/accounts/{account_id:int}"


class Agent(SimpleUser):
    """A signed-in agent, and the accounts that they may see."""

    def __init__(self, name: str, accounts: set[str]) -> None:
        super().__init__(name)
        self.accounts = accounts


class BearerBackend(AuthenticationBackend):
    """Signs in who bears the token of one of the desk's agents."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Agent] | None:
        """Return the agent, None if there is none."""
        found = self._desk.accounts_of(conn.headers.get("authorization"))
        return (AuthCredentials(["agent"]), Agent(*found)) if found else None


def agent_of_account(connection: HTTPConnection, tenant: str) -> str | None:
    """Let an agent of the account in."""
    user = connection.user
    return user.username if isinstance(user, Agent) and tenant in user.accounts else None


def make_app(desk: Desk) -> Starlette:  # noqa: C901 - one handler after another
    """Return the app around a desk."""
    fresh_when = FreshWhen(desk.revalidator, authorize=agent_of_account)

    def agent_of(request: Request) -> str:
        if str(request.path_params["account_id"]) not in request.user.accounts:
            raise HTTPException(403)
        name: str = request.user.username
        return name

    @requires("agent", 401)
    @fresh_when("label")
    async def labels(request: Request) -> Response:
        return JSONResponse(desk.labels(agent_of(request), request.path_params["account_id"]))

    @requires("agent", 401)
    @fresh_when("label")
    async def create_label(request: Request) -> Response:
        agent_of(request)
        await desk.revalidator.bump(request.path_params["account_id"], "label")
        return Response(status_code=201)

    @requires("agent", 401)
    @fresh_when("label")
    async def stream(request: Request) -> Response:
        agent_of(request)
        return StreamingResponse(desk.chunks())

    @requires("agent", 401)
    @fresh_when("label")
    def file(request: Request) -> Response:
        agent_of(request)
        return FileResponse(desk.file)

    @requires("agent", 401)
    @fresh_when("label")
    async def session(request: Request) -> Response:
        return Response(agent_of(request))

    @requires("agent", 401)
    @fresh_when("label")
    async def bumping(request: Request) -> Response:
        await desk.revalidator.bump(1, "label")
        return Response("as it was")

    @requires("agent", 401)
    @fresh_when("label")
    async def broken(request: Request) -> Response:
        raise RuntimeError("broken")

    @requires("agent", 401)
    @fresh_when("label")
    async def missing(request: Request) -> Response:
        raise HTTPException(404)

    @requires("agent", 401)
    @fresh_when("label")
    def sorry(request: Request) -> Response:
        raise SorryError

    async def apologise(request: Request, error: Exception) -> Response:
        return JSONResponse({"sorry": True})

    endpoints = [labels, stream, file, session, bumping, broken, missing, sorry]
    return Starlette(
        routes=[
            fresh_when.keys_route(),
            *fresh_when.push_routes(desk.hub),
            Route(f"{PREFIX}/labels", create_label, methods=["POST"]),
            *(Route(f"{PREFIX}/{endpoint.__name__}", endpoint) for endpoint in endpoints),
        ],
        middleware=[
            Middleware(SessionMiddleware, secret_key="not a secret"),
            Middleware(NumberedSessions),
            Middleware(AuthenticationMiddleware, backend=BearerBackend(desk)),
            fresh_when.middleware,
        ],
        exception_handlers={SorryError: apologise},
        lifespan=desk.revalidator.lifespan,
    )


def serve() -> ASGIApp:
    """Return an app for a server to run, which compresses what it can."""
    desk = Desk(Path(__file__))
    return Backstage(GZipMiddleware(make_app(desk), minimum_size=1), desk)
