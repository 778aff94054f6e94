"""fastapi-redis-sdk, as its README says: a dependency that answers from Redis."""

from fastapi import Depends, FastAPI
from redis_fastapi import FastAPIRedis, cache, get_settings

from benchmarks.contestants.desk import ROWS, redis_url

get_settings().url = redis_url()
app = FastAPI()
FastAPIRedis(app).lifespan().caching()


@app.get("/api/v1/accounts/{account_id}/labels", dependencies=[Depends(cache(ttl=3600, eviction_group="labels"))])
async def labels(account_id: int) -> list[dict[str, int | str]]:  # noqa: ARG001 - the cache's key
    """Answer the fifty rows."""
    return ROWS
