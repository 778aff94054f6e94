"""The load generator: one process that holds a crowd of connections to one server, and notes when each has an event.

It reads commands, one JSON object a line, and answers each with one. Every socket is read as soon as epoll shows it,
also between commands, so that pings are answered. An event is known by a word of it that occurs once, near its end.
"""

import base64
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

HOST: Final = "127.0.0.1"
WORD: Final = b'"jitter_ms":'
"""What each event has once, and nothing else has."""
TIMEOUT: Final = 60.0
_AT_ONCE: Final = 64
"""Connections that are being opened at the same time: fewer than any server's backlog."""
_SIZE: Final = 16_384
_SMALL_BUFFER: Final = 4_096
_PONG: Final = b'{"type":"pong"}'

Kind: TypeAlias = Literal["sse", "websocket"]


class CrowdError(Exception):
    """A connection was not served as it has to be."""


class Crowd:
    """Connections of one kind to one server."""

    def __init__(self, port: int, kind: Kind, requests: dict[str, str]) -> None:
        self._port = port
        self._kind = kind
        self._request = requests["open"].encode()
        self._fire = requests["fire"].encode()
        self._subscribe = masked(requests["subscribe"].encode())
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._events: dict[int, int] = {}

    def fileno(self) -> int:
        """Return what select can wait for."""
        return self._poll.fileno()

    # commands

    def open(self, count: int, *, stalled: bool = False) -> dict[str, float]:
        """Open connections, and wait until each has its first event; `stalled` ones are never read again."""
        started = time.perf_counter()
        opened: list[int] = []
        for first in range(0, count, _AT_ONCE):
            batch = [self._connected(stalled=stalled) for _ in range(min(_AT_ONCE, count - first))]
            self._begin(batch)
            opened += batch
        if stalled:
            for number in opened:
                self._poll.unregister(number)
                del self._events[number]
        return {"connections": len(self._sockets), "seconds": time.perf_counter() - started}

    def fire(self) -> dict[str, float]:
        """Have one event made, and return when it had come, in µs: to the first, to half, to 99 %, to the last."""
        crowd = len(self._events)
        arrivals: list[int] = []
        with self._asking() as asking:
            cpu = time.process_time_ns()
            started = time.perf_counter_ns()
            asking.send(self._fire)
            self._read_until(lambda: len(arrivals) >= crowd, arrivals)
            cpu = time.process_time_ns() - cpu
            _answered(asking)
        taken = [(each - started) / 1_000 for each in arrivals]
        self._idle(0.02)
        return {
            "first": taken[0],
            "p50": taken[int((crowd - 1) * 0.5)],
            "p99": taken[int((crowd - 1) * 0.99)],
            "last": taken[crowd - 1],
            "events": len(arrivals),
            "cpu": cpu / 1_000,
        }

    def check(self) -> dict[str, Any]:
        """Have one event made, and return the bytes of it that came: each different one, and to how many."""
        seen: dict[bytes, int] = {}
        with self._asking() as asking:
            asking.send(self._fire)
            left = set(self._events)
            deadline = time.monotonic() + TIMEOUT
            while left:
                for number, _ in self._polled(deadline):
                    data = self._received(number)
                    if WORD in data:
                        seen[data] = seen.get(data, 0) + 1
                        left.discard(number)
                    self._answer(number, data)
            _answered(asking)
        return {"seen": [[data.decode("latin-1"), times] for data, times in seen.items()]}

    def ceiling(self) -> dict[str, float]:
        """Have one event made, read nothing until it is there for all, and return the µs that reading one takes."""
        crowd = len(self._events)
        with self._asking() as asking:
            asking.send(self._fire)
            _answered(asking)
            deadline = time.monotonic() + TIMEOUT
            while len(self._poll.poll(0, crowd + 1)) < crowd and time.monotonic() < deadline:
                time.sleep(0.01)
            arrivals: list[int] = []
            started = time.perf_counter_ns()
            self._read_until(lambda: len(arrivals) >= crowd, arrivals)
            return {"each": (arrivals[-1] - started) / crowd / 1_000}

    def fill(self, events: int) -> dict[str, int]:
        """Have many events made, one after the other, without looking who gets them."""
        with self._asking() as asking:
            for _ in range(events):
                asking.send(self._fire)
                _answered(asking)
        self._idle(0.05)
        return {"events": events}

    def idle(self) -> None:
        """Read what is there."""
        self._read([], self._poll.poll(0))

    # the rest

    def _connected(self, *, stalled: bool) -> int:
        connection = socket.socket()
        if stalled:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        connection.connect((HOST, self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.send(self._request)
        connection.setblocking(False)
        number = connection.fileno()
        self._sockets[number] = connection
        self._poll.register(number, select.EPOLLIN)
        return number

    def _begin(self, batch: list[int]) -> None:
        """Read answers until each connection has its first event; a WebSocket subscribes for it."""
        left = dict.fromkeys(batch, b"")
        deadline = time.monotonic() + TIMEOUT
        while left:
            for number, _ in self._polled(deadline):
                if number not in left:
                    self._read([], [(number, select.EPOLLIN)])
                    continue
                before, data = left[number], left[number] + self._received(number)
                left[number] = data
                _expect(data, self._kind)
                if self._kind == "websocket" and b"\r\n\r\n" in data and b"\r\n\r\n" not in before:
                    self._sockets[number].send(self._subscribe)
                if WORD in data:
                    self._events[number] = 1
                    del left[number]

    def _read_until(self, done: Callable[[], bool], arrivals: list[int]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not done():
            self._read(arrivals, self._polled(deadline))

    def _idle(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read([], self._poll.poll(left))

    def _polled(self, deadline: float) -> list[tuple[int, int]]:
        events = self._poll.poll(max(deadline - time.monotonic(), 0))
        if not events:
            raise CrowdError("an event did not come to all within a minute")
        return events

    def _read(self, arrivals: list[int], events: list[tuple[int, int]]) -> None:
        """Read what epoll has shown: the loop that has to be cheap."""
        sockets, counts, clock = self._sockets, self._events, time.perf_counter_ns
        is_websocket = self._kind == "websocket"
        for number, _ in events:
            data = sockets[number].recv(_SIZE)
            if WORD in data:
                arrivals.append(clock())
                counts[number] += 1
                if not is_websocket or is_one_frame(data):
                    continue
            self._answer(number, data)

    def _received(self, number: int) -> bytes:
        data = self._sockets[number].recv(_SIZE)
        if not data:
            raise CrowdError("the server has ended a connection")
        return data

    def _answer(self, number: int, data: bytes) -> None:
        """Answer what a WebSocket's server wants to be answered: its pings, and this library's heartbeats."""
        if not data:
            raise CrowdError("the server has ended a connection")
        if self._kind != "websocket":
            return
        for code, payload in frames(data):
            if code == 9:
                self._sockets[number].send(masked(payload, code=10))
            elif code == 8:
                raise CrowdError(f"the server has closed a connection: {payload!r}")
            elif b'"heartbeat"' in payload:
                self._sockets[number].send(masked(_PONG))

    def _asking(self) -> socket.socket:
        asking = socket.create_connection((HOST, self._port), timeout=TIMEOUT)
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(0.002)  # the server has accepted it when it is asked
        return asking


def masked(payload: bytes, *, code: int = 1) -> bytes:
    """Return a short frame as a client sends it (RFC 6455, section 5.2), by a mask that changes nothing."""
    if len(payload) > 125:
        raise ValueError("a frame of a client is to be short here")
    return bytes([0x80 | code, 0x80 | len(payload)]) + bytes(4) + payload


def is_one_frame(data: bytes) -> bool:
    """Say whether a server's frame of at most 64 KiB is all that there is: no ping came with it."""
    return len(data) == (data[1] + 2 if data[1] < 126 else (data[2] << 8 | data[3]) + 4)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return the code and the payload of each whole frame of a server's."""
    found, at = [], 0
    while len(data) - at >= 2:
        code, length, at = data[at] & 15, data[at + 1] & 127, at + 2
        if length == 126:
            (length,), at = struct.unpack_from("!H", data, at), at + 2
        elif length == 127:
            (length,), at = struct.unpack_from("!Q", data, at), at + 8
        found.append((code, data[at : at + length]))
        at += length
    return found


def _expect(answer: bytes, kind: Kind) -> None:
    wanted = b"HTTP/1.1 101 " if kind == "websocket" else b"HTTP/1.1 200 "
    if not answer.startswith(wanted):
        raise CrowdError(f"a connection was answered {answer[:60]!r}")


def _answered(asking: socket.socket) -> None:
    answer = asking.recv(_SIZE)
    if not answer.startswith((b"HTTP/1.1 204", b"HTTP/1.1 200")):
        raise CrowdError(f"the request for an event was answered {answer[:60]!r}")


def key() -> str:
    """Return a key for a WebSocket's handshake."""
    return base64.b64encode(os.urandom(16)).decode()


def main() -> None:
    """Do what standard input says."""
    crowd: Crowd | None = None
    failure = ""
    commands = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 - it ends with the process
    while True:
        watched = [sys.stdin] if crowd is None or failure else [sys.stdin, crowd]
        if sys.stdin not in select.select(watched, [], [])[0]:
            assert crowd is not None
            try:
                crowd.idle()
            except (CrowdError, OSError) as error:
                failure = str(error)
            continue
        line = commands.readline()
        if not line:
            return
        command = json.loads(line)
        do = command.pop("do")
        answer: dict[str, Any] = {}
        try:
            if do == "connect":
                crowd = Crowd(**command)
            elif failure:
                answer = {"error": failure}
            else:
                answer = getattr(crowd, do)(**command)
        except (CrowdError, OSError) as error:
            answer = {"error": str(error) or repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
