"""The floor: an asyncio server without any framework, which writes the same bytes to each transport in a loop.

Run as a program with a port. With a Redis' port it tells what that publishes, too: the floor of two processes.
"""

import asyncio
import base64
import hashlib
import sys
from collections.abc import Callable
from typing import cast

from benchmarks.contestants.feed import FIRE, SOCKET, news

HOST = "127.0.0.1"
CHANNEL = "bench-raw"
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store, no-transform\r\n"
    b"x-accel-buffering: no\r\nvary: Authorization, Cookie\r\ntransfer-encoding: chunked\r\n\r\n"
)
_UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: %b\r\n\r\n"
)
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_streams: set[asyncio.Transport] = set()
_sockets: set[asyncio.Transport] = set()


def chunk(frame: bytes) -> bytes:
    """Return a frame as a chunk of HTTP."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def text(message: str) -> bytes:
    """Return a message as a frame of WebSocket, as a server sends it (RFC 6455, section 5.2)."""
    payload = message.encode()
    head = b"\x81" + bytes([len(payload)]) if len(payload) < 126 else b"\x81\x7e" + len(payload).to_bytes(2)
    return head + payload


def tell() -> None:
    """Write one event to all."""
    told = news()
    chunked, framed = chunk(told.frame), text(told.message)
    for transport in _streams:
        transport.write(chunked)
    for transport in _sockets:
        transport.write(framed)


class Connection(asyncio.Protocol):
    """One connection, whatever it is for: requests come whole, as the load generator sends them."""

    __slots__ = ("_transport",)
    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Serve a request, or take a WebSocket's first message for the subscription."""
        transport = self._transport
        if data.startswith(b"POST " + FIRE.encode()):
            tell()
            transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif data.startswith(b"GET " + SOCKET.encode()):
            transport.write(_UPGRADE % _accept(data))
        elif data.startswith(b"GET "):
            transport.write(_HEAD + chunk(news().frame))
            _streams.add(transport)
        elif transport not in _sockets:
            transport.write(text(news().message))
            _sockets.add(transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """Forget the transport."""
        _streams.discard(self._transport)
        _sockets.discard(self._transport)


class Subscription(asyncio.Protocol):
    """A connection to Redis that has all told what is published; it looks no further than that there is a message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Subscribe."""
        cast("asyncio.Transport", transport).write(f"SUBSCRIBE {CHANNEL}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Tell all."""
        if b"$7\r\nmessage\r\n" in data:
            tell()


def _accept(request: bytes) -> bytes:
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"sec-websocket-key":
            return base64.b64encode(hashlib.sha1(value + _MAGIC).digest())  # noqa: S324 - RFC 6455's
    raise ValueError("a WebSocket without a key")


async def main(port: int, redis: int | None) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    if redis is not None:
        await loop.create_connection(Subscription, HOST, redis)
    server = await loop.create_server(Connection, HOST, port, backlog=2048)
    await server.serve_forever()


def loops() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the maker of the loop that uvicorn would take."""
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loops()) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
