"""The app that the page on push talks of: its streams, two lists, a page of the same origin, and a way to bump."""

import os
from collections import Counter

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from cache_revalidate import CacheRevalidateMiddleware, Connection, Hub, HubSettings, MemoryStore, Revalidator, Tickets

ACCOUNT = "/api/v1/accounts/{account_id:int}"
TICKET_SECRET = "what-tickets-are-signed-with-in-tests"

revalidator = Revalidator(["inbox", "label"], store=MemoryStore())
hub = Hub(
    revalidator,
    tickets=Tickets(TICKET_SECRET),
    settings=HubSettings(heartbeat=float(os.environ["HEARTBEAT"]), recheck=float(os.environ["RECHECK"])),
)
bumps: Counter[tuple[int, str]] = Counter()


def agent(connection: Connection, tenant: str) -> str | None:
    """Let Ann see accounts 1 and 2, by cookie or by header."""
    cookie, authorization = (connection.headers.get(name, "") for name in ("cookie", "authorization"))
    signed_in = "agent=ann" in cookie or authorization == "Bearer ann"
    return "ann" if signed_in and tenant in {"1", "2"} else None


async def page(_: Request) -> HTMLResponse:
    """Show nothing, and sign Ann in."""
    answer = HTMLResponse("<!doctype html><title>A page</title><link rel=icon href=data:,>")
    answer.set_cookie("agent", "ann")
    return answer


async def records(request: Request) -> JSONResponse:
    """List an account's records of one kind: how many there are is how often it was bumped."""
    account_id, model = request.path_params["account_id"], request.url.path.rpartition("/")[2].removesuffix("s")
    return JSONResponse(bumps[account_id, model])


async def bump(request: Request) -> JSONResponse:
    """Bump one model of an account."""
    account_id, model = request.path_params["account_id"], request.path_params["model"]
    bumps[account_id, model] += 1
    return JSONResponse(await revalidator.bump(account_id, model))


async def connections(_: Request) -> JSONResponse:
    """Say how many connections are open."""
    return JSONResponse(hub.stats.connections)


app = CacheRevalidateMiddleware(
    Starlette(
        routes=[
            Route("/", page),
            Route("/connections", connections),
            Route(f"{ACCOUNT}/labels", records),
            Route(f"{ACCOUNT}/inboxs", records),
            Route("/bump/{account_id:int}/{model}", bump, methods=["POST"]),
        ],
        lifespan=revalidator.lifespan,
    ),
    revalidator=revalidator,
    authorize=agent,
    push=hub,
    routes={f"{ACCOUNT}/labels": ["label"], f"{ACCOUNT}/inboxs": ["inbox"]},
)
