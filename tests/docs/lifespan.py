"""The ASGI lifespan of an app, for tests that call it in process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cache_revalidate.types import ASGIApp, Message


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[None]:
    """Start the app as a server would, and stop it at the end; fail if it says that it could not."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task = asyncio.create_task(_call(app, scope, to_app, from_app))

    async def moment(name: str) -> None:
        await to_app.put({"type": f"lifespan.{name}"})
        answer = await from_app.get()
        assert answer["type"] == f"lifespan.{name}.complete", answer

    await moment("startup")
    try:
        yield
    finally:
        await moment("shutdown")
        await task


async def _call(
    app: ASGIApp, scope: dict[str, Any], to_app: asyncio.Queue[Message], from_app: asyncio.Queue[Message]
) -> None:
    try:
        await app(scope, to_app.get, from_app.put)
    except BaseException as error:
        await from_app.put({"type": "lifespan.failed", "message": repr(error)})
        raise
