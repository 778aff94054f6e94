"""What a type checker infers of the Litestar plugin, takes and refuses. Checked, never run."""

from typing import Any, assert_type

from litestar import Litestar, Request, get
from litestar.handlers import HTTPRouteHandler

from cache_revalidate import Revalidator, allow_everyone
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin

revalidator = Revalidator(["label"])


async def agent(request: Request[Any, Any, Any], tenant: str) -> str | None:
    """Tell who asks, asynchronously."""
    return f"{request.user}" if tenant else None


def whole_number(request: Request[Any, Any, Any], tenant: str) -> int:
    """Return what is no viewer."""
    return len(tenant)


plugin = RevalidatePlugin(RevalidateConfig(revalidator, viewer=agent))
RevalidateConfig(revalidator, viewer=allow_everyone, tenant="account_id", keys_path=None)
RevalidateConfig(revalidator, viewer=whole_number)  # type: ignore[arg-type]
RevalidateConfig("redis://127.0.0.1")  # type: ignore[arg-type]
RevalidatePlugin(revalidator)  # type: ignore[arg-type]

assert_type(plugin.keys_handler("/accounts/{account_id:int}/cache_keys"), HTTPRouteHandler)


@get("/accounts/{account_id:int}/labels", opt={"revalidate": ["label"]})
async def labels(account_id: int) -> list[int]:
    """Answer with rows."""
    return [account_id]


app = Litestar(route_handlers=[labels], plugins=[plugin])
