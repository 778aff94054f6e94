"""Runs an app in this process for one connection that stays open: a stream, or a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cache_revalidate.types import ASGIApp, Message, Scope
from tests.plugins.contract import get_scope
from tests.push.waiting import until


class Driven:
    """A connection, and what the app has sent over it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the app is done with it."""
        return self.task is not None and self.task.done()

    @property
    def status(self) -> int:
        """The status that was answered, 0 if there is none yet; 101 for a WebSocket that was accepted."""
        for message in self.sent:
            if message["type"] == "websocket.accept":
                return 101
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                return int(message["status"])
        return 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers that were answered."""
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def text(self) -> str:
        """All that was sent."""
        return "".join(str(message.get("text", "")) + message.get("body", b"").decode() for message in self.sent)

    async def open(self) -> None:
        """Wait until the connection is open."""
        await until(lambda: "jitter_ms" in self.text or self.status == 101 or self.is_over, "an open connection")

    def say(self, message: Mapping[str, object]) -> None:
        """Send JSON over a WebSocket."""
        self.received.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})


@asynccontextmanager
async def driven(app: ASGIApp, path: str, *, query: str = "", **scope: Any) -> AsyncIterator[Driven]:
    """Give a connection to an app: of a GET by ann, or a WebSocket with `type="websocket"`; it is left at the end."""
    connection = Driven()
    whole: Scope = {**get_scope(path), "query_string": query.encode(), **scope}
    kind = whole["type"]
    if kind == "websocket":
        del whole["method"]
        whole.update(scheme="ws", subprotocols=[], extensions={"websocket.http.response": {}})
        connection.received.put_nowait({"type": "websocket.connect"})

    async def send(message: Message) -> None:
        connection.sent.append(message)

    connection.task = asyncio.create_task(app(whole, connection.received.get, send))  # type: ignore[arg-type]
    await connection.open()
    try:
        yield connection
    finally:
        connection.received.put_nowait({"type": f"{kind}.disconnect", "code": 1005})
        await asyncio.wait_for(connection.task, 10)
