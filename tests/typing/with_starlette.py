"""What a type checker infers of the Starlette plugin, takes and refuses. Checked, never run."""

from collections.abc import Awaitable, Callable
from typing import assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cache_revalidate import Grant, Hub, Revalidator
from cache_revalidate.starlette import CacheRevalidateMiddleware, FreshWhen, compose_lifespans

revalidator = Revalidator(["label"])


async def agent(connection: HTTPConnection, tenant: str) -> str | None:
    """Tell who asks, asynchronously."""
    return f"{connection.user}" if tenant else None


async def until(connection: HTTPConnection, tenant: str) -> Grant | None:
    """Tell who asks, and until when."""
    return Grant(f"{connection.user}", expires_at=connection.auth.exp) if tenant else None


def whole_number(connection: HTTPConnection, tenant: str) -> int:
    """Return what is no viewer."""
    return len(tenant)


def wants_a_request(connection: Request, tenant: str) -> str:
    """Ask for more than a connection."""
    return f"{connection.method} {tenant}"


fresh_when = FreshWhen(revalidator, authorize=agent)
FreshWhen(revalidator, authorize=until)
FreshWhen(revalidator, authorize=whole_number)  # type: ignore[arg-type]
FreshWhen(revalidator)  # type: ignore[call-arg]


@fresh_when("label")
async def labels(request: Request) -> JSONResponse:
    """Answer asynchronously."""
    return JSONResponse([request.url.path])


@fresh_when("label")
def teams(request: Request) -> Response:
    """Answer from a thread."""
    return Response(request.url.path)


@fresh_when("label")  # type: ignore[arg-type]
def no_response(request: Request) -> str:
    """Return what no endpoint of Starlette returns."""
    return request.url.path


fresh_when(1)  # type: ignore[arg-type]

in_a_thread: Callable[[Request], Awaitable[Response]] = teams
assert_type(fresh_when.middleware, Middleware)
assert_type(fresh_when.keys_route(), Route)
assert_type(fresh_when.push_routes(), list[BaseRoute])
fresh_when.push_routes(Hub(revalidator), keys_path="/{account_id:int}/keys", vary=["X-Agent"])
fresh_when.push_routes(push=False)  # type: ignore[call-arg]

app = Starlette(
    routes=[Route("/accounts/{account_id:int}/labels", labels), fresh_when.keys_route(), *fresh_when.push_routes()],
    lifespan=compose_lifespans(revalidator.lifespan, revalidator.lifespan),
    middleware=[
        fresh_when.middleware,
        Middleware(CacheRevalidateMiddleware, revalidator=revalidator, authorize=agent, push=Hub(revalidator)),
        Middleware(CacheRevalidateMiddleware, revalidator="redis://127.0.0.1"),  # type: ignore[arg-type]
        Middleware(CacheRevalidateMiddleware, revalidator=revalidator, authorize=whole_number),  # type: ignore[arg-type]
        Middleware(CacheRevalidateMiddleware, revalidator=revalidator, authorize=wants_a_request),  # type: ignore[arg-type]
    ],
)
