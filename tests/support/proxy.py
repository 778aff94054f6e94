"""A TCP proxy before a server: it counts round trips, and a test decides what becomes of what it carries."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """A TCP proxy that can keep things back.

    Either the server's answers, on the connection that first sends something, or all that comes from either side, as
    when the network is partitioned: nobody is told, and what was sent arrives when it is whole again.

    It counts round trips: how often something was asked after an answer.
    """

    def __init__(self, host: str = "", port: int = 0) -> None:
        self.upstream = (host, port)
        self.held = asyncio.Event()
        self.hold_after: bytes | None = None
        self.round_trips = 0
        self._asking: set[asyncio.StreamWriter] = set()
        self._held_connection: asyncio.StreamWriter | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._whole = asyncio.Event()
        self._whole.set()

    def partition(self) -> None:
        """Let nothing through, on any connection, and close none."""
        self._whole.clear()

    def heal(self) -> None:
        """Let everything through, also what was kept back."""
        self._whole.set()

    def cut(self) -> None:
        """Close the connection whose answers are held."""
        if self._held_connection is not None:
            self._held_connection.close()

    def cut_all(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve on a free port of the loopback, which is given."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.heal()
            self.cut_all()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._whole.wait()
        upstream_reader, upstream_writer = await asyncio.open_connection(*self.upstream)
        for each in (writer, upstream_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._writers.append(each)
        await asyncio.gather(self._to_server(reader, upstream_writer, writer), self._to_client(upstream_reader, writer))

    async def _to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            await self._whole.wait()
            if client not in self._asking:
                self._asking.add(client)
                self.round_trips += 1
            if self._held_connection is None and self.hold_after is not None and self.hold_after in data:
                self._held_connection = client
            writer.write(data)
        writer.close()

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._whole.wait()
            self._asking.discard(writer)
            if self._held_connection is writer:
                self.held.set()
                continue
            writer.write(data)
        writer.close()
