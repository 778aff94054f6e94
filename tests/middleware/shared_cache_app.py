"""An app whose labels differ by user, declared with several policies, for a server process of its own."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cache_revalidate import CacheControl, CachePolicy, CacheRevalidateMiddleware, Connection, Revalidator, Viewer


async def labels(request: Request) -> PlainTextResponse:
    """Answer with rows that name the user."""
    return PlainTextResponse("rows of " + request.headers.get("x-user", "nobody"))


def user(connection: Connection, tenant: str) -> Viewer | None:
    """Return the user named by a header that no cache looks at, as a proxy in front of it would set it."""
    return connection.headers.get("x-user")


app = CacheRevalidateMiddleware(
    Starlette(routes=[Route("/{policy}/{account_id:int}", labels)]),
    revalidator=Revalidator(["label"]),
    authorize=user,
    routes={
        "/default/{account_id:int}": ["label"],
        "/aged/{account_id:int}": CachePolicy(["label"], cache_control=CacheControl(max_age=60)),
        "/public/{account_id:int}": CachePolicy(
            ["label"], cache_control=CacheControl(max_age=60, public=True), vary=()
        ),
    },
)
