"""Starlette's own means: a StreamingResponse that reads a queue of its own, and a list of WebSockets.

The list is the `ConnectionManager` of FastAPI's documentation, of which all ASGI frameworks have a version.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.contestants.feed import FIRE, PATTERN, news

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_queues: set[asyncio.Queue[bytes]] = set()
_connected: list[WebSocket] = []


async def fire(_: Request) -> Response:
    """Tell all."""
    told = news()
    frame, message = told.frame, told.message
    for queue in _queues:
        queue.put_nowait(frame)
    for socket in _connected:
        await socket.send_text(message)
    return Response(status_code=204)


async def events(_: Request) -> Response:
    """Begin a stream."""
    return StreamingResponse(_frames(), media_type="text/event-stream", headers=HEADERS)


async def _frames() -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    _queues.add(queue)
    try:
        yield news().frame
        while True:
            yield await queue.get()
    finally:
        _queues.discard(queue)


async def socket(socket: WebSocket) -> None:
    """Begin a WebSocket."""
    await socket.accept()
    await socket.receive_text()
    await socket.send_text(news().message)
    _connected.append(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        _connected.remove(socket)


app = Starlette(
    routes=[
        Route(FIRE, fire, methods=["POST"]),
        Route(f"{PATTERN}/events", events),
        WebSocketRoute(f"{PATTERN}/socket", socket),
    ]
)
