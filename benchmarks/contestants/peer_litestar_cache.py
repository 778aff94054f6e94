"""Litestar's response cache, in memory as by default. It has no validators: it sends the kept answer, a 200."""

from litestar import Litestar, get
from litestar.params import FromPath

from benchmarks.contestants.desk import ROWS


@get("/api/v1/accounts/{account_id:int}/labels", cache=3600)
async def labels(account_id: FromPath[int]) -> list[dict[str, int | str]]:  # noqa: ARG001 - the cache's key
    """Answer the fifty rows."""
    return ROWS


app = Litestar([labels], openapi_config=None)
