"""What a contestant without a framework needs of ASGI: an answer in two messages, and a lifespan."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias

from benchmarks.contestants.desk import AGENTS, BODY

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
LENGTH = (b"content-length", str(len(BODY)).encode())


async def answer(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    """Send one answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def live(receive: Receive, send: Send, context: AbstractAsyncContextManager[object] | None = None) -> None:
    """Serve the lifespan protocol around a context."""
    await receive()
    async with context or nullcontext():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


def header(scope: Message, name: bytes) -> bytes:
    """Return a request header, empty if there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


def agent(scope: Message) -> str | None:
    """Return who asks for account 1: the same rule as every contestant's that has one."""
    return AGENTS.get((header(scope, b"authorization").decode("latin-1"), "1"))


class Rows:
    """An app that answers its agents with the fifty rows."""

    def __init__(self, context: Callable[[], AbstractAsyncContextManager[object]] = nullcontext) -> None:
        self._context = context

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await live(receive, send, self._context())
        elif agent(scope) is None:
            await answer(send, 403, [(b"content-length", b"0")])
        else:
            await answer(send, 200, [JSON, LENGTH], BODY)
