"""An SSE client for tests: cheap enough to hold thousands, and it can misbehave as browsers and networks do.

It reads the response off the socket itself, because no HTTP client can be told to stop reading, or to let the kernel
buffer little.
"""

import asyncio
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Self

from cache_revalidate.http.cache_keys import cache_keys
from tests.push.client import Client, client_socket
from tests.push.tenant_view import TenantView
from tests.push.waiting import until
from tests.support.servers import HOST

_AT_ONCE = 200
EVENT = "account.cache_invalidated"


class EventStream(Client):
    """One SSE response, and what its client ends with."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self.view = TenantView()
        self.id = ""
        """The newest event's, to be shown as `Last-Event-ID`."""
        self.retry = 0
        """Milliseconds."""
        self.live: bool | None = None
        """What the newest heartbeat said."""
        self.heartbeats = 0
        self.close_code: int | None = None
        """Why the server ended the stream, as a WebSocket's close code would say it; None if it said nothing."""
        self.body = b""
        """What there is of a response that is no stream of events."""
        self.ended = False
        """Whether the server ended the response as HTTP wants it, not by just closing."""
        self._buffer = bytearray()
        self._text = b""
        self._is_chunked = False
        self._inflate: Callable[[bytes], bytes] = bytes
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

    def shown(self) -> dict[str, str]:
        """Return the tokens by model that the newest id says; its tag is that of the newest event."""
        shown = cache_keys(self.id.encode())
        assert shown.pop("*tag") == self.view.tag
        return shown

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
        if self.headers.get("content-encoding") == "gzip":
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
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

    def _take(self, data: bytes) -> None:
        text = self._inflate(data)
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
        if fields["event"] == "closed":
            self.close_code = data["code"]
            return
        assert fields["event"] == EVENT, fields
        self.view.take(data)
        self.id = fields["id"]


async def open_streams(
    port: int, paths: list[str], *, known: str = "", headers: Mapping[str, str] | None = None, little: bool = False
) -> list[EventStream]:
    """Open one stream for each path, some hundred at a time, and wait until each has had its first event."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def opened(path: str) -> EventStream:
        async with gate:
            stream = await EventStream.open(port, path, known=known, headers=headers, little=little)
            await until(lambda: stream.view.events or stream.closed, f"{path} has had its first event", within=30)
            return stream

    return await asyncio.gather(*map(opened, paths))
