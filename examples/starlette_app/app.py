"""A small support desk on Starlette, whose clients revalidate instead of refetching.

Read it from the bottom: the app and its middleware come last, what they are made of comes first.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from cache_revalidate import EVERYONE, Hub, Refused, Revalidator, Tickets, Viewer
from cache_revalidate.starlette import CacheRevalidateMiddleware, compose_lifespans
from cache_revalidate_sqlalchemy import attach, touch
from examples.desk import PAGE, bodies, records
from examples.desk.database import open_engine, prepare
from examples.desk.models import AccountRecord, Inbox, InboxMember, Label, Team
from examples.desk.records import Json, NotFoundError, UnprocessableError
from examples.desk.settings import Settings
from examples.desk.timing import ServerTimingMiddleware, handler_reached, measure_database
from examples.desk.users import User, user_of_bearer

settings = Settings.from_environment()
engine = open_engine(settings.database)
sessions = async_sessionmaker(engine, expire_on_commit=False)
revalidator = Revalidator(models=["label", "inbox", "team"], store=settings.store(engine))
attach(
    revalidator,
    sessions,
    {
        Label: "account_id",
        Inbox: "account_id",
        Team: "account_id",
        InboxMember: touch("inbox", "inbox.account_id"),
    },
)
# The page signs in by a header, which an EventSource can't send: it shows a ticket instead.
hub = Hub(revalidator, tickets=Tickets(settings.secret))


class Agent(SimpleUser):
    """A signed-in user of the desk."""

    def __init__(self, user: User) -> None:
        super().__init__(user.name)
        self.accounts = user.accounts


class BearerBackend(AuthenticationBackend):
    """Signs in by bearer token."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Agent] | None:
        user = user_of_bearer(conn.headers.get("authorization"))
        return (AuthCredentials(["authenticated"]), Agent(user)) if user else None


def agent_of_account(connection: HTTPConnection, tenant: str) -> Viewer | None:
    """Decide who may see an account: the one rule, for the middleware's 304s and for the endpoints below alike.

    All agents of an account see the same of it, hence `EVERYONE`; were it not so, this would return the user's id.
    """
    if not isinstance(connection.user, Agent):
        raise Refused("Bearer")
    return EVERYONE if int(tenant) in connection.user.accounts else None


class AccountEndpoint(HTTPEndpoint):
    """An endpoint that only the account's agents reach."""

    async def dispatch(self) -> None:
        request = Request(self.scope)
        try:
            viewer = agent_of_account(request, str(request.path_params["account_id"]))
        except Refused as refused:
            raise HTTPException(401, headers={"WWW-Authenticate": refused.challenge or "Bearer"}) from refused
        if viewer is None:
            raise HTTPException(403)
        handler_reached()
        await super().dispatch()


class Collection(AccountEndpoint):
    """All records of one kind in an account."""

    model: ClassVar[type[AccountRecord]]
    new: ClassVar[type[msgspec.Struct]]

    async def get(self, request: Request) -> Response:
        async with sessions() as session:
            found = await records.listed(session, self.model, request.path_params["account_id"])
        return JSONResponse(self.envelope(found))

    async def post(self, request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=self.new)
        async with records.transaction(sessions) as session:
            added = await records.added(session, self.model, request.path_params["account_id"], body)
        return JSONResponse(added, status_code=201)

    def envelope(self, found: list[Json]) -> Json | list[Json]:
        return {"payload": found}


class Single(AccountEndpoint):
    """One record of an account."""

    model: ClassVar[type[AccountRecord]]
    changes: ClassVar[type[msgspec.Struct]]

    async def patch(self, request: Request) -> Response:
        changes = msgspec.json.decode(await request.body(), type=self.changes)
        async with records.transaction(sessions) as session:
            record = await records.found(session, self.model, **request.path_params)
            changed = await records.changed(session, record, changes)
        return JSONResponse(changed)

    async def delete(self, request: Request) -> Response:
        async with records.transaction(sessions) as session:
            await records.removed(session, await records.found(session, self.model, **request.path_params))
        return Response(status_code=204)


class Labels(Collection):
    model = Label
    new = bodies.NewLabel


class LabelById(Single):
    model = Label
    changes = bodies.LabelChanges


class Inboxes(Collection):
    model = Inbox
    new = bodies.NewInbox


class InboxById(Single):
    model = Inbox
    changes = bodies.InboxChanges


class Teams(Collection):
    """Chatwoot answers a bare array here, and its clients expect one."""

    model = Team
    new = bodies.NewTeam

    def envelope(self, found: list[Json]) -> list[Json]:
        return found


class TeamById(Single):
    model = Team
    changes = bodies.TeamChanges


class Members(AccountEndpoint):
    """Who works in an inbox."""

    async def post(self, request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=bodies.Members)
        async with records.transaction(sessions) as session:
            inbox = await records.found(session, Inbox, **request.path_params)
            changed = await records.members_added(session, inbox, body.user_ids)
        return JSONResponse(changed)

    async def delete(self, request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=bodies.Members)
        async with records.transaction(sessions) as session:
            inbox = await records.found(session, Inbox, **request.path_params)
            changed = await records.members_removed(session, inbox, body.user_ids)
        return JSONResponse(changed)


async def http_error(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def answer_with(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return an exception handler that says what the exception says."""

    async def handler(_request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status)

    return handler


@asynccontextmanager
async def database(_app: Starlette) -> AsyncIterator[None]:
    await prepare(engine)
    yield
    await engine.dispose()


measure_database(engine)
ACCOUNT = "/api/v1/accounts/{account_id:int}"
routes: list[BaseRoute] = [
    Route(f"{ACCOUNT}/labels", Labels),
    Route(f"{ACCOUNT}/labels/{{record_id:int}}", LabelById),
    Route(f"{ACCOUNT}/inboxes", Inboxes),
    Route(f"{ACCOUNT}/inboxes/{{record_id:int}}", InboxById),
    Route(f"{ACCOUNT}/inboxes/{{record_id:int}}/members", Members),
    Route(f"{ACCOUNT}/teams", Teams),
    Route(f"{ACCOUNT}/teams/{{record_id:int}}", TeamById),
    Mount("/", StaticFiles(directory=PAGE, html=True)),
]
exception_handlers: dict[Any, Any] = {
    HTTPException: http_error,
    msgspec.DecodeError: answer_with(400),
    msgspec.ValidationError: answer_with(422),
    NotFoundError: answer_with(404),
    UnprocessableError: answer_with(422),
}
app = Starlette(
    routes=routes,
    lifespan=compose_lifespans(database, revalidator.lifespan),
    exception_handlers=exception_handlers,
    middleware=[
        Middleware(ServerTimingMiddleware),
        Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Cache-Keys"],
            expose_headers=["ETag", "Cache-Keys", "Server-Timing"],
        ),
        Middleware(AuthenticationMiddleware, backend=BearerBackend()),
        Middleware(
            CacheRevalidateMiddleware,
            revalidator=revalidator,
            authorize=agent_of_account,
            push=hub,
            routes={
                f"{ACCOUNT}/labels": ["label"],
                f"{ACCOUNT}/inboxes": ["inbox"],
                f"{ACCOUNT}/teams": ["team"],
            },
        ),
    ],
)
