"""The dependency for FastAPI's routes, beside constant routes of FastAPI's own."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Response

from benchmarks.contestants.bare import ETAG
from benchmarks.contestants.desk import AGENTS, ROWS
from cache_revalidate import Revalidator
from cache_revalidate.fastapi import Fresh

PATTERN = "/api/v1/accounts/{account_id}/labels"
FIXED = {"etag": ETAG.decode()}


async def agent(account_id: int, authorization: Annotated[str, Header()] = "") -> str:
    """Let the caller in."""
    if name := AGENTS.get((authorization, str(account_id))):
        return name
    raise HTTPException(403)


def constant() -> FastAPI:
    """Answer 304 to all."""
    app = FastAPI()

    @app.get(PATTERN)
    async def labels(account_id: int) -> Response:  # noqa: ARG001 - the path's
        return Response(status_code=304, headers=FIXED)

    return app


def constant_signed_in() -> FastAPI:
    """Answer 304 to who may see the account."""
    app = FastAPI()

    @app.get(PATTERN, dependencies=[Depends(agent)])
    async def labels(account_id: int) -> Response:  # noqa: ARG001 - the path's
        return Response(status_code=304, headers=FIXED)

    return app


def ours() -> FastAPI:
    """Declare the route by the dependency."""
    app = FastAPI()
    fresh = Fresh(Revalidator(["label"]), viewer=agent)
    fresh.install(app)

    @app.get(PATTERN, dependencies=[Depends(fresh("label"))])
    async def labels(account_id: int) -> list[dict[str, int | str]]:  # noqa: ARG001 - the path's
        return ROWS

    return app
