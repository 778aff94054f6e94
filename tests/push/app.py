"""The app under test: a bare ASGI app with push, set up by its environment, which says what happens in it.

`STORE_URL` is a Redis, or nothing: the process's own memory. `DATABASE_URL` makes it durable, with Redis for
copies. `MORE_MODELS` is how many models there are besides label, inbox and team. `HUB` holds settings of the hub, as
JSON. `LIFESPAN=off`: the app refuses to have one.
"""

import asyncio
import dataclasses
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from cache_revalidate import (
    CacheRevalidateMiddleware,
    Hub,
    HubSettings,
    MemoryStore,
    RedisStore,
    Revalidator,
    Store,
    allow_everyone,
)
from cache_revalidate.types import ASGIApp, Message, Receive, Scope, Send

_REDIS_TIMEOUT = 0.5


def models_of(more: int) -> list[str]:
    """Return the names of the models."""
    return ["inbox", "label", "team", *(f"model_{number}" for number in range(more))]


def make_store() -> Store:
    """Return the store that the environment names."""
    redis = os.environ.get("STORE_URL")
    store = RedisStore.from_url(redis, timeout=_REDIS_TIMEOUT) if redis else None
    database = os.environ.get("DATABASE_URL")
    if not database:
        return store or MemoryStore()
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import create_async_engine

    from cache_revalidate_sqlalchemy import DurableStore, add_tables

    engine = create_async_engine(database, pool_size=2)
    return DurableStore(engine, add_tables(MetaData()), store, max_stale=5.0)


class Desk:
    """The app itself.

    `POST /bump/{tenant}/{model},{model}` bumps by whatever worker it reaches, `POST /bump-sync/…` likewise by the
    synchronous door; `GET /stats` tells of the worker that it reaches. Anything else is a handler's call.
    """

    def __init__(self, revalidator: Revalidator, hub: Hub) -> None:
        self.revalidator = revalidator
        self.hub = hub
        self.counted: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            self.counted["calls"] += 1
            await send({"type": "websocket.close"})
            return
        _, name, *parts = scope["path"].split("/")
        if name == "stats":
            await _answer(send, self.stats())
        elif name == "bump":
            await _answer(send, await self.revalidator.bump(parts[0], *parts[1].split(",")))
        elif name == "bump-sync":
            bumped = await asyncio.to_thread(self.revalidator.sync.bump, parts[0], *parts[1].split(","))
            await _answer(send, bumped)
        elif name == "ready":
            await _answer(send, {})
        else:
            self.counted["calls"] += 1
            await _answer(send, {"rows": []})

    def stats(self) -> dict[str, Any]:
        """Return what is known of this process."""
        return {
            "pid": os.getpid(),
            "rss": resident_kib("self"),
            "streams": self.counted["http"],
            "sockets": self.counted["websocket"],
            "calls": self.counted["calls"],
            "hub": dataclasses.asdict(self.hub.stats),
            "reads": self.revalidator.stats.reads,
        }

    async def _live(self, receive: Receive, send: Send) -> None:
        if os.environ.get("LIFESPAN") == "off":
            raise NotImplementedError("This app has no lifespan.")
        await receive()
        async with self.revalidator.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


class Witness:
    """The outermost layer: counts what is open under the push endpoints, and names the process in every answer."""

    def __init__(self, app: ASGIApp, counted: Counter[str]) -> None:
        self.app = app
        self.counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        if not scope.get("path", "").endswith(("/events", "/socket")):
            await self.app(scope, receive, send)
            return

        async def witnessed(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.accept"}:
                headers = [*message.get("headers", ()), (b"x-worker", str(os.getpid()).encode())]
                message = {**message, "headers": headers}
            await send(message)

        self.counted[scope["type"]] += 1
        try:
            await self.app(scope, receive, witnessed)
        finally:
            self.counted[scope["type"]] -= 1


def resident_kib(process: int | str) -> int:
    """Return a process's resident memory, in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def _answer(send: Send, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def make() -> ASGIApp:
    """Return the app with all its layers."""
    revalidator = Revalidator(models_of(int(os.environ.get("MORE_MODELS", "0"))), make_store())
    hub = Hub(revalidator, settings=HubSettings(**json.loads(os.environ.get("HUB", "{}"))))
    desk = Desk(revalidator, hub)
    middleware = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=allow_everyone, push=hub)
    return Witness(middleware, desk.counted)
