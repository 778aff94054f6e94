"""Litestar's channels in memory: subscribers that a ServerSentEvent iterates, or that send to a WebSocket."""

from collections.abc import AsyncIterator

from litestar import Litestar, WebSocket, get, post, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage

from benchmarks.contestants.feed import EVENT, FIRE, PATTERN, news

STREAMS, SOCKETS = "streams", "sockets"
plugin = ChannelsPlugin(backend=MemoryChannelsBackend(), channels=[STREAMS, SOCKETS])


@post(FIRE, status_code=204)
async def fire(channels: ChannelsPlugin) -> None:
    """Tell all. What a channel carries is one text: the id, and then the data."""
    told = news()
    channels.publish(f"{told.id}\n{told.data}", STREAMS)
    channels.publish(told.message, SOCKETS)


def _event(text: str) -> ServerSentEventMessage:
    identity, data = text.split("\n")
    return ServerSentEventMessage(data, event=EVENT, id=identity)


@get(f"{PATTERN}/events")
async def events(account_id: FromPath[int], channels: ChannelsPlugin) -> ServerSentEvent:  # noqa: ARG001 - the path's
    """Begin a stream."""

    async def frames() -> AsyncIterator[ServerSentEventMessage]:
        async with channels.start_subscription([STREAMS]) as subscriber:
            told = news()
            yield _event(f"{told.id}\n{told.data}")
            async for text in subscriber.iter_events():
                yield _event(text.decode())

    return ServerSentEvent(frames())


@websocket(f"{PATTERN}/socket")
async def socket(
    socket: WebSocket,  # type: ignore[type-arg]
    account_id: FromPath[int],  # noqa: ARG001 - the path's
    channels: ChannelsPlugin,
) -> None:
    """Begin a WebSocket."""
    await socket.accept()
    await socket.receive_text()
    async with channels.start_subscription([SOCKETS]) as subscriber:
        await socket.send_text(news().message)
        async with subscriber.run_in_background(socket.send_text):
            try:
                while True:
                    await socket.receive_text()
            except WebSocketDisconnect:
                return


app = Litestar([fire, events, socket], plugins=[plugin], openapi_config=None)
