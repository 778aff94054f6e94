"""A small support desk on Litestar, whose clients revalidate instead of refetching.

Read it from the bottom: the app comes last, what it is made of comes first.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Controller, Litestar, Request, Response, Router, delete, get, patch, post
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.logging import LoggingConfig
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.static_files import create_static_files_router
from sqlalchemy.ext.asyncio import async_sessionmaker

from cache_revalidate import EVERYONE, Hub, Revalidator, Tickets, Viewer
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from cache_revalidate_sqlalchemy import attach, touch
from examples.desk import PAGE, records
from examples.desk.bodies import InboxChanges, LabelChanges, Members, NewInbox, NewLabel, NewTeam, TeamChanges
from examples.desk.database import open_engine, prepare
from examples.desk.models import Inbox, InboxMember, Label, Team
from examples.desk.records import Json, NotFoundError, Sessions, UnprocessableError
from examples.desk.settings import Settings
from examples.desk.timing import ServerTimingMiddleware, handler_reached, measure_database
from examples.desk.users import user_of_bearer

settings = Settings.from_environment()
engine = open_engine(settings.database)
session_factory = async_sessionmaker(engine, expire_on_commit=False)
revalidator = Revalidator(models=["label", "inbox", "team"], store=settings.store(engine))
attach(
    revalidator,
    session_factory,
    {
        Label: "account_id",
        Inbox: "account_id",
        Team: "account_id",
        InboxMember: touch("inbox", "inbox.account_id"),
    },
)
# The page signs in by a header, which an EventSource can't send: it shows a ticket instead.
hub = Hub(revalidator, tickets=Tickets(settings.secret))


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """Signs in by bearer token; the page at `/` needs no user, so that the guard below is who insists on one."""

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        return AuthenticationResult(user=user_of_bearer(connection.headers.get("authorization")), auth=None)


def agents_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let an account's agents alone reach its records and its cache keys."""
    if connection.user is None:
        raise NotAuthorizedException(headers={"WWW-Authenticate": "Bearer"})
    if connection.path_params["account_id"] not in connection.user.accounts:
        raise PermissionDeniedException


def viewer(request: Request[Any, Any, Any], tenant: str) -> Viewer | None:
    """Say who asks: the guard's rule, for whom all agents of an account see the same of it, hence `EVERYONE`.

    Were it not so, this would return the user's id.
    """
    return EVERYONE if request.user and int(tenant) in request.user.accounts else None


async def provide_sessions() -> Sessions:
    handler_reached()
    return session_factory


class LabelController(Controller):
    path = "/labels"

    @get(opt={"revalidate": ["label"]})
    async def all_labels(self, sessions: Sessions, account_id: int) -> dict[str, list[Json]]:
        async with sessions() as session:
            return {"payload": await records.listed(session, Label, account_id)}

    @post()
    async def add_label(self, sessions: Sessions, account_id: int, data: NewLabel) -> Json:
        async with records.transaction(sessions) as session:
            return await records.added(session, Label, account_id, data)

    @patch("/{record_id:int}")
    async def change_label(self, sessions: Sessions, account_id: int, record_id: int, data: LabelChanges) -> Json:
        async with records.transaction(sessions) as session:
            label = await records.found(session, Label, account_id, record_id)
            return await records.changed(session, label, data)

    @delete("/{record_id:int}")
    async def remove_label(self, sessions: Sessions, account_id: int, record_id: int) -> None:
        async with records.transaction(sessions) as session:
            await records.removed(session, await records.found(session, Label, account_id, record_id))


class InboxController(Controller):
    path = "/inboxes"

    @get(opt={"revalidate": ["inbox"]})
    async def all_inboxes(self, sessions: Sessions, account_id: int) -> dict[str, list[Json]]:
        async with sessions() as session:
            return {"payload": await records.listed(session, Inbox, account_id)}

    @post()
    async def add_inbox(self, sessions: Sessions, account_id: int, data: NewInbox) -> Json:
        async with records.transaction(sessions) as session:
            return await records.added(session, Inbox, account_id, data)

    @patch("/{record_id:int}")
    async def change_inbox(self, sessions: Sessions, account_id: int, record_id: int, data: InboxChanges) -> Json:
        async with records.transaction(sessions) as session:
            inbox = await records.found(session, Inbox, account_id, record_id)
            return await records.changed(session, inbox, data)

    @delete("/{record_id:int}")
    async def remove_inbox(self, sessions: Sessions, account_id: int, record_id: int) -> None:
        async with records.transaction(sessions) as session:
            await records.removed(session, await records.found(session, Inbox, account_id, record_id))

    @post("/{record_id:int}/members", status_code=200)
    async def add_members(self, sessions: Sessions, account_id: int, record_id: int, data: Members) -> Json:
        async with records.transaction(sessions) as session:
            inbox = await records.found(session, Inbox, account_id, record_id)
            return await records.members_added(session, inbox, data.user_ids)

    @delete("/{record_id:int}/members", status_code=200)
    async def remove_members(self, sessions: Sessions, account_id: int, record_id: int, data: Members) -> Json:
        async with records.transaction(sessions) as session:
            inbox = await records.found(session, Inbox, account_id, record_id)
            return await records.members_removed(session, inbox, data.user_ids)


class TeamController(Controller):
    path = "/teams"

    @get(opt={"revalidate": ["team"]})
    async def all_teams(self, sessions: Sessions, account_id: int) -> list[Json]:
        """Chatwoot answers a bare array here, and its clients expect one."""
        async with sessions() as session:
            return await records.listed(session, Team, account_id)

    @post()
    async def add_team(self, sessions: Sessions, account_id: int, data: NewTeam) -> Json:
        async with records.transaction(sessions) as session:
            return await records.added(session, Team, account_id, data)

    @patch("/{record_id:int}")
    async def change_team(self, sessions: Sessions, account_id: int, record_id: int, data: TeamChanges) -> Json:
        async with records.transaction(sessions) as session:
            team = await records.found(session, Team, account_id, record_id)
            return await records.changed(session, team, data)

    @delete("/{record_id:int}")
    async def remove_team(self, sessions: Sessions, account_id: int, record_id: int) -> None:
        async with records.transaction(sessions) as session:
            await records.removed(session, await records.found(session, Team, account_id, record_id))


def not_found(_: Request[Any, Any, Any], error: NotFoundError) -> Response[Json]:
    return Response({"detail": str(error)}, status_code=404)


def unprocessable(_: Request[Any, Any, Any], error: UnprocessableError | ValidationException) -> Response[Json]:
    detail = error.detail if isinstance(error, ValidationException) else str(error)
    return Response({"detail": detail, "extra": getattr(error, "extra", None)}, status_code=422)


@asynccontextmanager
async def lifespan(_: Litestar) -> AsyncIterator[None]:
    await prepare(engine)
    yield
    await engine.dispose()


measure_database(engine)
plugin = RevalidatePlugin(RevalidateConfig(revalidator, viewer=viewer, keys_path=None, push=hub))
account = Router(
    path="/api/v1/accounts/{account_id:int}",
    guards=[agents_only],
    dependencies={"sessions": Provide(provide_sessions)},
    route_handlers=[
        plugin.keys_handler("/cache_keys"),
        *plugin.push_handlers("/cache_keys"),
        LabelController,
        InboxController,
        TeamController,
    ],
)
app = Litestar(
    route_handlers=[account, create_static_files_router(path="/", directories=[PAGE], html_mode=True)],
    plugins=[plugin],
    lifespan=[lifespan],
    # "*" is safe here, since no browser adds a bearer token by itself; for a list of origins Litestar's CORS would
    # overwrite Vary, and a cache could then hand one user's answer to another.
    cors_config=CORSConfig(
        allow_origins=["*"],
        allow_headers=["Authorization", "Content-Type", "If-None-Match", "Cache-Keys"],
        expose_headers=["ETag", "Cache-Keys", "Server-Timing"],
    ),
    exception_handlers={
        NotFoundError: not_found,
        UnprocessableError: unprocessable,
        ValidationException: unprocessable,
    },
    middleware=[ServerTimingMiddleware, BearerAuthentication],
    logging_config=LoggingConfig(
        log_exceptions="always", disable_stack_trace={400, 401, 403, 404, 405, NotFoundError, UnprocessableError}
    ),
)
