"""A plain middleware that asks Redis for the tokens in each request: one MGET, by redis-py."""

from typing import Any

import redis.asyncio

from benchmarks.contestants.asgi import JSON, LENGTH, Message, Receive, Send, agent, answer, header, live
from benchmarks.contestants.desk import BODY, redis_url


class App:
    """Answers 304 to who holds the token that Redis holds."""

    def __init__(self) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(redis_url())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http":
            await self._redis.set("bench:mget:1:label", "17959876543210121234")
            await live(receive, send)
            return
        if agent(scope) is None:
            await answer(send, 403, [(b"content-length", b"0")])
            return
        tokens = await self._redis.mget(["bench:mget:1:label"])
        etag = b'W/"ann-%b"' % b"-".join(tokens)
        if header(scope, b"if-none-match") == etag:
            await answer(send, 304, [(b"etag", etag)])
        else:
            await answer(send, 200, [JSON, LENGTH, (b"etag", etag)], BODY)


def app() -> App:
    """Make the app within the server."""
    return App()
