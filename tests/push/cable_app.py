"""An app for a server process: accounts that can be bumped, and pages that listen with real ActionCable clients."""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from cache_revalidate import EVERYONE, CacheRevalidateMiddleware, Connection, Revalidator, Viewer
from cache_revalidate.stores.redis import RedisStore
from tests.support.npm import main_script

PACKAGES = {"newest": "@rails/actioncable", "chatwoot": "actioncable-of-chatwoot"}
REFUSED = "2"
"""The account that nobody may see."""

revalidator = Revalidator(
    ["label", "inbox", "team"], store=RedisStore.from_url(os.environ["REDIS_URL"]), namespace="cable"
)


def agent(connection: Connection, tenant: str) -> Viewer | None:
    """Let everyone see every account but one."""
    return None if tenant == REFUSED else EVERYONE


async def page(request: Request) -> FileResponse:
    """Show the page of one of the clients."""
    return FileResponse(Path(__file__).with_name("cable_page.html"))


async def script(request: Request) -> FileResponse:
    """Serve the real package of that client."""
    return FileResponse(main_script(PACKAGES[request.path_params["client"]]), media_type="text/javascript")


async def bump(request: Request) -> JSONResponse:
    """Bump one model of an account, and answer with its new token."""
    return JSONResponse(await revalidator.bump(request.path_params["account_id"], request.path_params["model"]))


app = CacheRevalidateMiddleware(
    Starlette(
        routes=[
            Route("/{client}/", page),
            Route("/{client}/actioncable.js", script),
            Route("/accounts/{account_id:int}/{model}", bump, methods=["POST"]),
        ],
        lifespan=revalidator.lifespan,
    ),
    revalidator=revalidator,
    authorize=agent,
)
