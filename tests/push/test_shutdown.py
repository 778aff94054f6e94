"""Open streams don't hold the server: it ends soon after SIGTERM, and clients are told."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence

import pytest

from tests.push.client import Client
from tests.push.desks import assert_no_traceback, desk, events_path, socket_path
from tests.push.sse_client import EventStream, open_streams
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.servers import AppServer, AppServerProgram, RedisServer

SOON = 3.0
"""Seconds until the server has ended, on a busy machine; by itself it takes less than one."""

SERVERS: list[tuple[AppServerProgram, int, list[str]]] = [
    ("uvicorn", 1, ["--ws", "websockets-sansio"]),
    ("uvicorn", 1, ["--ws", "wsproto"]),
    ("uvicorn", 2, []),
    ("granian", 1, []),
    ("granian", 2, []),
]


async def idle_clients(port: int) -> tuple[list[EventStream], list[EventSocket]]:
    """Open clients to whom nothing happens: streams, sockets that have subscribed, and one that has not."""
    streams = await open_streams(port, [events_path()] * 10)
    sockets = [await EventSocket.open(port, socket_path()) for _ in range(10)]
    for socket in sockets[1:]:
        socket.subscribe(1)
    await until(lambda: all(socket.views["1"].fulls for socket in sockets[1:]), "all have begun")
    return streams, sockets


async def stopped(app: AppServer) -> float:
    """Stop the server by SIGTERM; return how many seconds it took to end."""
    began = time.monotonic()
    await asyncio.to_thread(app.stop)
    return time.monotonic() - began


@pytest.mark.parametrize(("server", "workers", "options"), SERVERS)
async def test_the_server_ends_and_clients_are_told(
    server: AppServerProgram, workers: int, options: Sequence[str]
) -> None:
    """With idle clients a server ends soon by itself: streams end as HTTP wants it, sockets with code 1001."""
    with desk(server=server, workers=workers, options=options) as app:
        streams, sockets = await idle_clients(app.port)
        assert await stopped(app) < SOON
        await are_told(streams, sockets)
        assert_no_traceback(app)


@pytest.mark.parametrize("workers", [1, 2])
async def test_hypercorns_own_limit_helps(workers: int) -> None:
    """Hypercorn's workers hear no signal, but of an event of its own; what its limit cuts off is told all the same."""
    with desk(server="hypercorn", workers=workers, options=["--graceful-timeout", "1"]) as app:
        streams, sockets = await idle_clients(app.port)
        assert await stopped(app) < 1 + SOON
        await are_told(streams, sockets)


@pytest.mark.parametrize(
    ("server", "options"),
    [
        ("uvicorn", ["--lifespan", "off", "--timeout-graceful-shutdown", "1"]),
        ("granian", ["--interface", "asginl", "--workers-kill-timeout", "1"]),
    ],
)
async def test_without_a_lifespan_the_servers_own_limit_helps(server: AppServerProgram, options: list[str]) -> None:
    """Where the app's lifespan does not run, the server's own limit ends it in time; the connections are cut."""
    with desk(server=server, options=options) as app:
        streams, sockets = await idle_clients(app.port)
        assert await stopped(app) < 1 + SOON
        await are_closed([*streams, *sockets])


async def test_a_worker_that_would_end_at_once(redis_server: RedisServer) -> None:
    """A process whose server does not handle the signal ends by it, after its clients are told."""
    with desk(server="hypercorn", workers=2, store=redis_server.url) as app:
        streams, sockets = await idle_clients(app.port)
        clients: list[Client] = [*streams, *sockets]
        began = time.monotonic()
        for worker in {int(client.worker) for client in clients}:
            os.kill(worker, signal.SIGTERM)
        await are_told(streams, sockets)
        assert time.monotonic() - began < SOON


async def are_closed(clients: Sequence[Client]) -> None:
    """See the connections end."""
    await until(lambda: all(client.closed for client in clients), "all are closed")


async def are_told(streams: list[EventStream], sockets: list[EventSocket]) -> None:
    """See the clients be told that the server goes away."""
    await are_closed([*streams, *sockets])
    assert {(stream.ended, stream.close_code) for stream in streams} == {(True, 1001)}
    assert {socket.close_code for socket in sockets} == {1001}
