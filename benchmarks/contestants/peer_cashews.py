"""cashews with its middleware for ETags, as its README says: its cache in memory."""

from cashews import cache
from cashews.contrib.fastapi import CacheEtagMiddleware
from fastapi import FastAPI

from benchmarks.contestants.desk import ROWS

cache.setup("mem://")
app = FastAPI()
app.add_middleware(CacheEtagMiddleware)


@app.get("/api/v1/accounts/{account_id}/labels")
@cache(ttl="1h", key="labels:{account_id}")  # type: ignore[untyped-decorator]
async def labels(account_id: int) -> list[dict[str, int | str]]:  # noqa: ARG001 - the cache's key
    """Answer the fifty rows."""
    return ROWS
