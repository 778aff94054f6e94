"""The `opt` of Litestar's handlers, beside constant handlers of Litestar's own."""

from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from benchmarks.contestants.bare import ETAG
from benchmarks.contestants.desk import AGENTS, PATTERN, ROWS
from cache_revalidate import Revalidator
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin

FIXED = {"etag": ETAG.decode()}


def agents_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let the caller in."""
    key = (connection.headers.get("authorization", ""), str(connection.path_params["account_id"]))
    if AGENTS.get(key) is None:
        raise PermissionDeniedException


def viewer(request: Request[Any, Any, Any], tenant: str) -> str | None:
    """Say who asks."""
    return AGENTS.get((request.headers.get("authorization", ""), tenant))


def constant() -> Litestar:
    """Answer 304 to all."""

    @get(PATTERN)
    async def labels(account_id: FromPath[int]) -> Response[None]:  # noqa: ARG001 - the path's
        return Response(None, status_code=304, headers=FIXED)

    return Litestar([labels], openapi_config=None)


def constant_signed_in() -> Litestar:
    """Answer 304 to who may see the account."""

    @get(PATTERN, guards=[agents_only])
    async def labels(account_id: FromPath[int]) -> Response[None]:  # noqa: ARG001 - the path's
        return Response(None, status_code=304, headers=FIXED)

    return Litestar([labels], openapi_config=None)


def ours() -> Litestar:
    """Declare the handler by its `opt`."""
    plugin = RevalidatePlugin(RevalidateConfig(Revalidator(["label"]), viewer=viewer))

    @get(PATTERN, guards=[agents_only], opt={"revalidate": ["label"]})
    async def labels(account_id: FromPath[int]) -> list[dict[str, int | str]]:  # noqa: ARG001 - the path's
        return ROWS

    return Litestar([labels], plugins=[plugin], openapi_config=None)
