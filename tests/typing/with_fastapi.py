"""What a type checker infers of the FastAPI plugin, takes and refuses. Checked, never run."""

from typing import Annotated, assert_type
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header

from cache_revalidate import CacheControl, Hub, Revalidator
from cache_revalidate.fastapi import Fresh

app = FastAPI()
revalidator = Revalidator(["label"])


async def agent(account_id: int, x_agent: Annotated[str, Header()]) -> str:
    """Return who asks."""
    return f"{x_agent} of {account_id}"


fresh = Fresh(revalidator, viewer=agent, tenant="account_id")
Fresh(revalidator, viewer=agent, tenant_type=UUID)
Fresh(revalidator)  # type: ignore[call-arg]
Fresh(revalidator, viewer="agent")  # type: ignore[arg-type]

assert_type(fresh.install(app), None)
assert_type(fresh.keys_router(), APIRouter)
fresh.install(app, push=Hub(revalidator))
fresh.keys_router(push=False)
fresh.keys_router(push="hub")  # type: ignore[arg-type]


@app.get("/accounts/{account_id}/labels", dependencies=[Depends(fresh("label", cache_control=CacheControl()))])
async def labels(account_id: int) -> list[int]:
    """Answer with rows."""
    return [account_id]


fresh(1)  # type: ignore[arg-type]
fresh("label", cache_control="no-cache")  # type: ignore[arg-type]
