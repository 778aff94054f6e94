"""What both test clients are: an end of a connection that can misbehave as browsers and networks do."""

import asyncio
import socket

SMALL_BUFFER = 4_096
SMALL_SEGMENT = 536
"""Segments on the loopback are so large by themselves that ten of them, which the kernel lets a server send ahead, are
megabytes."""


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        """Of the answer."""
        self.closed = False
        """Whether the server has closed the connection, or we have."""
        self.received = 0
        """Bytes."""
        self._transport: asyncio.Transport | None = None

    @property
    def worker(self) -> str:
        """The process that answers, as the app under test says it."""
        return self.headers.get("x-worker", "")

    def stop_reading(self) -> None:
        """Take nothing more from the kernel, as a browser's tab does that is frozen."""
        assert self._transport is not None
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """Read again."""
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection without another word."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over."""
        self.closed = True


def client_socket(*, little: bool) -> socket.socket:
    """Return a socket that is to be connected; both kernels buffer `little` for it, some 300 KiB, if told so."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    if little:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
    return made
