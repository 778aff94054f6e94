"""fastapi-cache2, as its README says: its backend in memory, which answers 304 by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.decorator import cache

from benchmarks.contestants.desk import ROWS


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Set it up."""
    FastAPICache.init(InMemoryBackend(), prefix="fastapi-cache")
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/api/v1/accounts/{account_id}/labels")
@cache(expire=3600)  # type: ignore[untyped-decorator]
async def labels(account_id: int) -> list[dict[str, int | str]]:  # noqa: ARG001 - the cache's key
    """Answer the fifty rows."""
    return ROWS
