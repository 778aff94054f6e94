"""This library's push, around a bare app: with the tokens in memory, or in Redis for two processes."""

import os
from dataclasses import replace
from typing import Any

from benchmarks.contestants.asgi import Message, Receive, Send, answer, live
from benchmarks.contestants.desk import AGENTS, redis_url
from benchmarks.contestants.feed import FIRE, MODELS
from cache_revalidate import (
    CacheRevalidateMiddleware,
    Connection,
    Hub,
    HubSettings,
    MemoryStore,
    RedisStore,
    Revalidator,
    Store,
)

MOST = 20_000


def authorize(connection: Connection, tenant: str) -> str | None:
    """Look a header up in a dict."""
    return AGENTS.get((connection.headers.get("authorization", ""), tenant))


class App:
    """What the middleware stands before: a POST bumps one model of account 1."""

    def __init__(self, revalidator: Revalidator) -> None:
        self._revalidator = revalidator

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await live(receive, send, self._revalidator.lifespan())
        elif scope["path"] == FIRE:
            await self._revalidator.bump(1, "label")
            await answer(send, 204, [])
        else:
            await answer(send, 404, [(b"content-length", b"0")])


def around(store: Store) -> CacheRevalidateMiddleware[Any]:
    """Return the middleware, whose hub takes as many connections as are opened here, all of one viewer.

    A stalled connection is kept for as long as `BENCH_SEND_TIMEOUT` says, in seconds.
    """
    revalidator = Revalidator([*MODELS], store)
    settings = HubSettings(max_connections=MOST, max_per_tenant=MOST, max_per_viewer=MOST)
    if timeout := os.environ.get("BENCH_SEND_TIMEOUT"):
        settings = replace(settings, send_timeout=float(timeout))
    hub = Hub(revalidator, settings=settings)
    return CacheRevalidateMiddleware(App(revalidator), revalidator=revalidator, authorize=authorize, push=hub)


def memory() -> CacheRevalidateMiddleware[Any]:
    """Keep the tokens in memory."""
    return around(MemoryStore())


def redis() -> CacheRevalidateMiddleware[Any]:
    """Keep the tokens in Redis."""
    return around(RedisStore.from_url(redis_url()))
