"""What a type checker infers of the Litestar plugin, takes and refuses. Checked, never run."""

from typing import Any, assert_type

from litestar import Litestar, Request, Router, get
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from cache_revalidate import EVERYONE, CacheControl, CachePolicy, Grant, Hub, Revalidator, Viewer, allow_everyone
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin

revalidator = Revalidator(["label"])


def agent(request: Request[str, Any, Any], tenant: str) -> str | None:
    """Tell who asks."""
    return request.user if tenant else None


async def anyone(request: Request[Any, Any, Any], tenant: str) -> Viewer:
    """Tell, asynchronously, that all see the same."""
    return EVERYONE


def until(request: Request[str, Any, Any], tenant: str) -> Grant | None:
    """Tell who asks, and until when."""
    return Grant(request.user, expires_at=request.auth["exp"]) if tenant else None


def whole_number(request: Request[Any, Any, Any], tenant: str) -> int:
    """Return what is no viewer."""
    return len(tenant)


RevalidateConfig(revalidator, viewer=anyone, keys_cache_control=CacheControl(max_age=5), vary=["X-Agent"])
RevalidateConfig(revalidator, viewer=until)
RevalidateConfig(revalidator, viewer=allow_everyone, keys_path=None, push=Hub(revalidator))
RevalidateConfig(revalidator, viewer=allow_everyone, push="hub")  # type: ignore[arg-type]
RevalidateConfig(revalidator, viewer=whole_number)  # type: ignore[arg-type]
RevalidateConfig("redis://127.0.0.1", viewer=anyone)  # type: ignore[arg-type]
RevalidateConfig(revalidator, viewer=anyone, tenant=int)  # type: ignore[arg-type]

plugin = RevalidatePlugin(RevalidateConfig(revalidator, viewer=agent))
assert_type(plugin.keys_handler("/{account_id:int}/cache_keys"), HTTPRouteHandler)
assert_type(plugin.push_handlers("/{account_id:int}/cache_keys"), list[BaseRouteHandler])
assert_type(plugin.hub, Hub | None)


@get("/accounts/{account_id:int}/labels", opt={"revalidate": CachePolicy(["label"])})
async def labels() -> list[str]:
    """Answer a list."""
    return ["urgent"]


app = Litestar([Router("/", route_handlers=[labels])], plugins=[plugin])
