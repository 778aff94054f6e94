"""broadcaster in memory, on Starlette: subscribers that a StreamingResponse iterates, or that send to a WebSocket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from benchmarks.contestants.feed import FIRE, PATTERN, news
from benchmarks.contestants.push_starlette import HEADERS

STREAMS, SOCKETS = "streams", "sockets"
broadcast = Broadcast("memory://")


async def fire(_: Request) -> Response:
    """Tell all."""
    told = news()
    await broadcast.publish(STREAMS, told.frame)
    await broadcast.publish(SOCKETS, told.message)
    return Response(status_code=204)


async def events(_: Request) -> Response:
    """Begin a stream."""
    return StreamingResponse(_frames(), media_type="text/event-stream", headers=HEADERS)


async def _frames() -> AsyncIterator[bytes]:
    async with broadcast.subscribe(STREAMS) as subscriber:
        yield news().frame
        async for event in subscriber:
            yield event.message


async def socket(socket: WebSocket) -> None:
    """Begin a WebSocket: the two tasks of broadcaster's README."""
    await socket.accept()
    await socket.receive_text()
    async with anyio.create_task_group() as group:

        async def reads() -> None:
            async for _ in socket.iter_text():
                pass
            group.cancel_scope.cancel()

        group.start_soon(reads)
        async with broadcast.subscribe(SOCKETS) as subscriber:
            await socket.send_text(news().message)
            async for event in subscriber:
                await socket.send_text(event.message)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Run the broadcast."""
    async with broadcast:
        yield


app = Starlette(
    routes=[
        Route(FIRE, fire, methods=["POST"]),
        Route(f"{PATTERN}/events", events),
        WebSocketRoute(f"{PATTERN}/socket", socket),
    ],
    lifespan=lifespan,
)
