"""Servers with a crowd: a contestant's server on one core, and on another the process that holds its connections."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.servers import HOST, Server

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.contestants.desk import AUTHORIZATION
from benchmarks.contestants.feed import EVENT, EVENTS, FIRE, SOCKET, SUBSCRIBE
from benchmarks.environments import PUSH, REPOSITORY, Environments, MissingEnvironmentError
from benchmarks.push.crowd import CrowdError, Kind, frames, key
from benchmarks.push.lineup import Contestant
from benchmarks.servers import SOURCES, MeasuredApp

_TRIES = 3
_SPARE = 500
"""Files that a process needs beside its connections."""


class WrongEventError(Exception):
    """A contestant does not tell what it is measured for."""


class PushingApp(MeasuredApp):
    """An app on uvicorn, with the faster of its implementations of WebSocket."""

    def command(self) -> list[str]:
        """Return the command line."""
        return [*super().command(), "--ws", "websockets-sansio"]


class Program(Server):
    """A module of the contestants that is a server by itself."""

    def __init__(self, python: Path, module: str, *arguments: str) -> None:
        super().__init__()
        self._command = [str(python), "-m", f"benchmarks.contestants.{module}", str(self.port), *arguments]

    def command(self) -> list[str]:
        """Return the command line."""
        return [*cores.pinned(cores.MEASURED), *self._command]

    def environment(self) -> dict[str, str]:
        """Return this process's environment, and where the sources are."""
        return {**os.environ, "PYTHONPATH": SOURCES}

    def working_folder(self) -> Path:
        """Return the repository."""
        return REPOSITORY

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        with socket.create_connection((HOST, self.port), timeout=1):
            return True


class CrowdProcess:
    """A load generator of its own process; `with` starts and ends it. Its commands are those of `Crowd`."""

    def __init__(self, port: int, kind: Kind, *, fires_by: str = "POST") -> None:
        requests = {"open": opening(kind), "fire": request(fires_by, FIRE, "content-length: 0"), "subscribe": SUBSCRIBE}
        self._connect = {"port": port, "kind": kind, "requests": requests}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*cores.pinned(cores.OTHERS), sys.executable, "-m", "benchmarks.push.crowd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        self.do("connect", **self._connect)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have something done, and return what came of it. Raises `CrowdError`."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"do": command, **arguments}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the load generator has ended"}
        if "error" in answer:
            raise CrowdError(answer["error"])
        return answer


class Crowded:
    """A contestant's server, its crowd, and what they have in common; `with` starts and stops both."""

    def __init__(self, bench: Bench, contestant: Contestant, kind: Kind, env: Mapping[str, str] | None = None) -> None:
        self.contestant = contestant
        self.kind: Kind = kind
        self._server = server(bench.environments, contestant, env or {})
        self._stack = ExitStack()
        self.size = 0
        """The bytes of an event, as they came."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._server)
            crowd = CrowdProcess(self._server.port, self.kind, fires_by=self.contestant.fires_by)
            self.crowd = stack.enter_context(crowd)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()  # first the crowd: some servers wait for idle connections when they are asked to stop

    @property
    def unread(self) -> int:
        """The bytes that the kernel holds for connections of the server's that do not read them."""
        mine = f":{self._server.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(mine))

    @property
    def process_id(self) -> int:
        """The server's."""
        return self._server.process_id

    def check(self) -> None:
        """Have an event made, and see that all are told the same, and a new token. Raises `WrongEventError`."""
        for last in (False, False, True):
            seen = self.crowd.do("check")["seen"]
            if len(seen) == 1:
                break
            if last:
                raise WrongEventError(f"one event came in {len(seen)} ways: {seen[:2]}")
        data = seen[0][0].encode("latin-1")
        self.size = len(data)
        check_event(data, self.kind)


def check_event(data: bytes, kind: Kind) -> None:
    """See that bytes are one whole event that tells a token. Raises `WrongEventError`."""
    try:
        told = _of_stream(data) if kind == "sse" else _of_socket(data)
        token = told["cache_keys"]["label"]
    except (ValueError, KeyError, TypeError) as error:
        raise WrongEventError(f"not an event: {data!r}") from error
    if told["account_id"] != 1 or not re.fullmatch(r"\d{20}", token):
        raise WrongEventError(f"another event: {data!r}")


def _of_stream(data: bytes) -> dict[str, Any]:
    lines = [line.split(": ", 1) for line in _dechunked(data).decode().splitlines() if line]
    fields = dict(lines)
    if len(lines) != len(fields) or fields["event"] != EVENT or not fields["id"].startswith("*tag="):
        raise ValueError(fields)
    return dict(json.loads(fields["data"]))


def _dechunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        end = int(size, 16)
        if data[end : end + 2] != b"\r\n":
            raise ValueError(data)
        whole, data = whole + data[:end], data[end + 2 :]
    return whole


def _of_socket(data: bytes) -> dict[str, Any]:
    ((code, payload),) = frames(data)
    told = json.loads(payload)
    if code != 1 or told["event"] != EVENT:
        raise ValueError(told)
    return dict(told["data"])


def server(environments: Environments, contestant: Contestant, env: Mapping[str, str]) -> Server:
    """Return a contestant's server. Raises `MissingEnvironmentError`."""
    python = environments.python(PUSH)
    for package in contestant.packages:
        _look_for(package, python)
    if contestant.program:
        return Program(python, contestant.program)
    return PushingApp(
        python,
        f"benchmarks.contestants.{contestant.app}",
        server="uvicorn",
        is_factory=contestant.is_factory,
        env={**contestant.env, **env},
        has_lifespan=contestant.has_lifespan,
    )


def _look_for(package: str, python: Path) -> None:
    found = subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True)
    if found.returncode:
        raise MissingEnvironmentError(f"{package} is not installed: `make bench` does it")


def memory(process_id: int) -> float:
    """Return the memory, in KiB, that a process has to itself (USS)."""
    rollup = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    return float(sum(int(size) for size in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB$", rollup, re.MULTILINE)))


def most_connections(wanted: int) -> int:
    """Raise this process's limit of files, and return how many of the connections can be had of those wanted."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - _SPARE)


def request(method: str, path: str, *headers: str) -> str:
    """Return a request without a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Authorization: {AUTHORIZATION}", *headers]
    return "".join(f"{line}\r\n" for line in lines) + "\r\n"


def opening(kind: Kind) -> str:
    """Return the request that opens a connection of a kind."""
    if kind == "sse":
        return request("GET", EVENTS, "Accept: text/event-stream")
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key()}")
    return request("GET", SOCKET, *upgrade)
