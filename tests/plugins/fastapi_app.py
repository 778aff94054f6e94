"""The desk as a FastAPI app, its routes declared by dependency."""

from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

from cache_revalidate.fastapi import Fresh
from cache_revalidate.types import ASGIApp
from tests.plugins.desk import Backstage, Desk, NumberedSessions, SorryError

PREFIX = "/api/v1/accounts/{account_id}"


def make_app(desk: Desk) -> FastAPI:  # noqa: C901 - one handler after another
    """Return the app around a desk."""

    def agent_of_account(account_id: int, request: Request) -> str:
        found = desk.accounts_of(request.headers.get("authorization"))
        if found is None:
            raise HTTPException(401)
        agent, accounts = found
        if str(account_id) not in accounts:
            raise HTTPException(403)
        return agent

    app = FastAPI(middleware=[Middleware(SessionMiddleware, secret_key="not a secret"), Middleware(NumberedSessions)])
    fresh = Fresh(desk.revalidator, viewer=agent_of_account)
    fresh.install(app, push=desk.hub)
    declared = [Depends(fresh("label"))]
    agent = Annotated[str, Depends(agent_of_account)]

    @app.api_route(f"{PREFIX}/labels", methods=["GET", "HEAD"], dependencies=declared, include_in_schema=False)
    def labels(account_id: int, agent: agent) -> dict[str, object]:
        return desk.labels(agent, account_id)

    @app.post(f"{PREFIX}/labels", status_code=201, dependencies=declared)
    async def create_label(account_id: int) -> None:
        await desk.revalidator.bump(account_id, "label")

    @app.get(f"{PREFIX}/stream", dependencies=declared)
    async def stream() -> StreamingResponse:
        return StreamingResponse(desk.chunks())

    @app.get(f"{PREFIX}/file", dependencies=declared)
    def file() -> FileResponse:
        return FileResponse(desk.file)

    @app.get(f"{PREFIX}/session", dependencies=declared)
    def session(agent: agent) -> str:
        return agent

    @app.get(f"{PREFIX}/bumping", dependencies=declared)
    async def bumping() -> Response:
        await desk.revalidator.bump(1, "label")
        return Response("as it was")

    @app.get(f"{PREFIX}/broken", dependencies=declared)
    async def broken() -> None:
        raise RuntimeError("broken")

    @app.get(f"{PREFIX}/missing", dependencies=declared)
    async def missing() -> None:
        raise HTTPException(404)

    @app.get(f"{PREFIX}/sorry", dependencies=declared)
    def sorry() -> None:
        raise SorryError

    @app.exception_handler(SorryError)
    async def apologise(request: Request, error: Exception) -> Response:
        return JSONResponse({"sorry": True})

    return app


def serve() -> ASGIApp:
    """Return an app for a server to run, which compresses what it can."""
    desk = Desk(Path(__file__))
    return Backstage(GZipMiddleware(make_app(desk), minimum_size=1), desk)
