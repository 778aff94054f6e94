"""The decorator for Starlette's endpoints, beside constant routes of Starlette's own."""

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.contestants.bare import ETAG
from benchmarks.contestants.desk import AGENTS, PATTERN, ROWS
from cache_revalidate import Revalidator
from cache_revalidate.starlette import FreshWhen

FIXED = {"etag": ETAG.decode()}


def agent(connection: HTTPConnection, tenant: str) -> str | None:
    """Say who asks."""
    return AGENTS.get((connection.headers.get("authorization", ""), tenant))


def _refuses(request: Request) -> bool:
    return agent(request, str(request.path_params["account_id"])) is None


def constant() -> Starlette:
    """Answer 304 to all."""

    async def labels(_: Request) -> Response:
        return Response(status_code=304, headers=FIXED)

    return Starlette(routes=[Route(PATTERN, labels)])


def constant_signed_in() -> Starlette:
    """Answer 304 to who may see the account."""

    async def labels(request: Request) -> Response:
        return Response(status_code=403) if _refuses(request) else Response(status_code=304, headers=FIXED)

    return Starlette(routes=[Route(PATTERN, labels)])


def ours() -> Starlette:
    """Declare the endpoint by the decorator."""
    revalidator = Revalidator(["label"])
    fresh_when = FreshWhen(revalidator, authorize=agent)

    @fresh_when("label")
    async def labels(request: Request) -> Response:
        return Response(status_code=403) if _refuses(request) else JSONResponse(ROWS)

    return Starlette(routes=[Route(PATTERN, labels)], middleware=[fresh_when.middleware], lifespan=revalidator.lifespan)
