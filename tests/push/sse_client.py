"""An SSE client for tests: cheap enough to hold thousands, and it can misbehave as browsers and networks do.

It reads the response off the socket itself, because no HTTP client can be told to stop reading, or to let the kernel
buffer little.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Self

from cache_revalidate.http.cache_keys import cache_keys
from tests.push.tenant_view import TenantView
from tests.push.waiting import until
from tests.support.servers import HOST

SMALL_BUFFER = 4_096
SMALL_SEGMENT = 536
"""Segments on the loopback are so large by themselves that ten of them, which the kernel lets a server send ahead, are
megabytes."""

_AT_ONCE = 200
EVENT = "account.cache_invalidated"


def client_socket(*, little: bool) -> socket.socket:
    """Return a socket that is to be connected; both kernels buffer `little` for it, some 100 KiB, if told so."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    if little:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
    return made


class EventStream(asyncio.Protocol):
    """One SSE response, and what its client ends with."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.view = TenantView()
        self.id = ""
        """The newest event's, to be shown as `Last-Event-ID`."""
        self.retry = 0
        """Milliseconds."""
        self.live: bool | None = None
        """What the newest heartbeat said."""
        self.heartbeats = 0
        self.received = 0
        """Bytes."""
        self.body = b""
        """What there is of a response that is no stream of events."""
        self.ended = False
        """Whether the server ended the response as HTTP wants it, not by just closing."""
        self.closed = False
        self._buffer = bytearray()
        self._text = b""
        self._transport: asyncio.Transport | None = None
        self._is_chunked = False
        self._is_stream = False

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        *,
        known: str = "",
        headers: Mapping[str, str] | None = None,
        little: bool = False,
    ) -> Self:
        """Connect and ask; what is answered arrives later. `known` is the id that is shown as `Last-Event-ID`."""
        connection = client_socket(little=little)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (HOST, port))
        transport, stream = await loop.create_connection(cls, sock=connection)
        shown = {"host": f"{HOST}:{port}", "accept": "text/event-stream", **(headers or {})}
        if known:
            shown["last-event-id"] = known
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in shown.items())]
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return stream

    @property
    def tokens(self) -> dict[str, str]:
        """The tokens that the client has, by model."""
        return self.view.tokens

    @property
    def worker(self) -> str:
        """The process that answers, as the app under test says it."""
        return self.headers.get("x-worker", "")

    def shown(self) -> dict[str, str]:
        """Return what the newest id says: the tokens by model, and the tag by `*tag`."""
        return cache_keys(self.id.encode())

    def stop_reading(self) -> None:
        """Take nothing more from the kernel, as a browser's tab does that is frozen."""
        assert self._transport is not None
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """Read again."""
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the server has closed, or that we did."""
        self.closed = True

    def data_received(self, data: bytes) -> None:
        """Read what there is; an event that is not whole yet is left until it is."""
        self.received += len(data)
        self._buffer += data
        if not self.status and not self._read_head():
            return
        if self._is_chunked:
            self._read_chunks()
        else:
            self._take(bytes(self._buffer))
            self._buffer.clear()

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"
        self._is_stream = self.headers.get("content-type", "").startswith("text/event-stream")
        return True

    def _read_chunks(self) -> None:
        position = 0
        while (end := self._buffer.find(b"\r\n", position)) >= 0:
            size = int(self._buffer[position:end], 16)
            after = end + 2 + size
            if len(self._buffer) < after + 2:
                break
            if not size:
                self.ended = True
            self._take(bytes(self._buffer[end + 2 : after]))
            position = after + 2
        del self._buffer[:position]

    def _take(self, text: bytes) -> None:
        if not self._is_stream:
            self.body += text
            return
        *frames, self._text = (self._text + text).split(b"\n\n")
        for frame in frames:
            self._take_frame(frame.decode())

    def _take_frame(self, frame: str) -> None:
        fields = dict(line.split(": ", 1) for line in frame.split("\n"))
        if "retry" in fields:
            self.retry = int(fields["retry"])
        if "data" not in fields:
            return
        data = json.loads(fields["data"])
        if fields["event"] == "heartbeat":
            self.heartbeats += 1
            self.live = data["live"]
            return
        assert fields["event"] == EVENT, fields
        self.view.take(data)
        self.id = fields["id"]


async def open_streams(port: int, paths: list[str], **options: str | bool) -> list[EventStream]:
    """Open one stream for each path, some hundred at a time, and wait until each has had its first event."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def opened(path: str) -> EventStream:
        async with gate:
            stream = await EventStream.open(port, path, **options)  # type: ignore[arg-type]
            await until(lambda: stream.view.events or stream.closed, f"{path} has had its first event", within=30)
            return stream

    return await asyncio.gather(*map(opened, paths))


def close_all(streams: list[EventStream]) -> None:
    """Close them."""
    for stream in streams:
        stream.close()
