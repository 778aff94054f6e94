"""Clients without a network: they speak ASGI with an app in the same event loop, whose clock they can turn forward."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cache_revalidate.types import ASGIApp, Message, Scope

HEADERS = [(b"host", b"desk.example")]


class Clock:
    """Turns the running event loop's clock forward: what waits for that time comes up at once."""

    def __init__(self) -> None:
        self._ahead = 0.0
        asyncio.get_running_loop().time = self._time  # type: ignore[method-assign]

    def _time(self) -> float:
        return time.monotonic() + self._ahead

    async def forward(self, seconds: float) -> None:
        """Let so much time be over, and everything happen that is due then."""
        self._ahead += seconds
        await settle()


async def settle(turns: int = 50) -> None:
    """Let everything happen that has not to wait."""
    for _ in range(turns):
        await asyncio.sleep(0)


@dataclass
class Event:
    """An event of a stream or a WebSocket."""

    name: str
    data: dict[str, Any]
    id: str | None = None


class Client:
    """One connection to an app. `gate` may be closed, for a reader that does not read; `failure` is what `send` raises."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self.sent: list[Message] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.is_socket = scope["type"] == "websocket"
        if self.is_socket:
            self._incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.get_running_loop().create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._incoming.get, self._send)

    async def _send(self, message: Message) -> None:
        if self.failure is not None:
            raise self.failure
        await self.gate.wait()
        self.sent.append({**message})
        # Whoever is between may change what it is handed: nobody else may see that.
        for name in message:
            if name != "type":
                message[name] = None

    def say(self, message: object) -> None:
        """Send a message as JSON."""
        self.say_text(json.dumps(message))

    def say_text(self, text: str) -> None:
        """Send a text."""
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def say_bytes(self, content: bytes) -> None:
        """Send bytes."""
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": content, "text": None})

    def go(self) -> None:
        """Be gone."""
        self._incoming.put_nowait({"type": "websocket.disconnect" if self.is_socket else "http.disconnect"})

    async def end(self) -> None:
        """Be gone, and wait until the app has seen it."""
        self.go()
        await self.ended()

    async def ended(self) -> None:
        """Wait until the app has ended the connection."""
        async with asyncio.timeout(10):
            await self.task

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(next(each["status"] for each in self.sent if each["type"].endswith("response.start")))

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of the answer."""
        return dict(next(each["headers"] for each in self.sent if each["type"].endswith("response.start")))

    @property
    def text(self) -> str:
        """All of the answer's body that has come."""
        return b"".join(each["body"] for each in self.sent if each["type"].endswith("response.body")).decode()

    @property
    def events(self) -> list[Event]:
        """All events that have come."""
        if self.is_socket:
            texts = [json.loads(each["text"]) for each in self.sent if each["type"] == "websocket.send"]
            return [Event(each["event"], each["data"]) for each in texts]
        frames = [frame.split("\n") for frame in self.text.split("\n\n")]
        fields = [dict(line.split(": ", 1) for line in lines if line) for lines in frames]
        return [Event(each["event"], json.loads(each["data"]), each.get("id")) for each in fields if "event" in each]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The data of all events that tell of tokens."""
        return [event.data for event in self.events if event.name == "account.cache_invalidated"]

    @property
    def names(self) -> list[str]:
        """The names of all events."""
        return [event.name for event in self.events]

    @property
    def code(self) -> int | None:
        """The close code of a WebSocket, if it was closed."""
        return next((int(each["code"]) for each in self.sent if each["type"] == "websocket.close"), None)


def stream_scope(
    tenant: str = "1",
    *,
    method: str = "GET",
    endpoint: str = "events",
    query: dict[str, str] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    agent: str = "ann",
) -> Scope:
    """Return the scope of a request to an endpoint of push."""
    return {
        "type": "http",
        "method": method,
        "scheme": "https",
        "path": f"/api/v1/accounts/{tenant}/cache_keys/{endpoint}",
        "query_string": urlencode(query or {}).encode(),
        "headers": [*HEADERS, (b"x-agent", agent.encode()), *headers],
    }


def socket_scope(
    tenant: str = "1", *, query: dict[str, str] | None = None, agent: str = "ann", extensions: object = None
) -> Scope:
    """Return the scope of a WebSocket."""
    return {
        "type": "websocket",
        "scheme": "wss",
        "path": f"/api/v1/accounts/{tenant}/cache_keys/socket",
        "query_string": urlencode(query or {}).encode(),
        "headers": [*HEADERS, (b"x-agent", agent.encode())],
        "subprotocols": [],
        "extensions": extensions,
    }


@asynccontextmanager
async def connected(app: ASGIApp, scope: Scope) -> AsyncIterator[Client]:
    """Connect, and be gone at the end."""
    client = Client(app, scope)
    await settle()
    try:
        yield client
    finally:
        client.gate.set()
        if not client.task.done():
            await client.end()


async def nothing(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Be an app behind the middleware: answer 404, and refuse WebSockets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4999, "reason": ""})
        return
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"nothing here"})
