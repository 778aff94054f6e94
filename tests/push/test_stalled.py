"""Readers that have stalled: nobody waits for them, and they are closed in time.

The frames are large and the kernels' buffers small, or a stalled reader would not be noticed for megabytes.
"""

import resource
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.push.app import models_of
from tests.push.desks import all_have, assert_no_traceback, bump, close_all, desk, events_path, socket_path
from tests.push.sse_client import open_streams
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.servers import AppServer, AppServerProgram

MANY = 5_000
STALLED = 50
SEND_TIMEOUT = 1.0
MORE_MODELS = 200
EVERY_MODEL = models_of(MORE_MODELS)
FILLED_WITHIN = 15.0
"""Seconds of bumps: it takes one or two to fill the buffers, and then the time that a message may wait."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and those that it starts, have as many files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard > MANY + 500, "ulimit -Hn: too few files for this test"
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_five_thousand_with_fifty_stalled() -> None:
    """Of 5,000 clients 50 stall: all others get each event, in bounded memory, and the 50 are closed in time."""
    with desk(hub={"send_timeout": SEND_TIMEOUT}, more_models=40) as app:
        everyone = models_of(40)
        async with httpx.AsyncClient(base_url=app.base_url, timeout=60) as client:
            many = await open_streams(app.port, [events_path(1)] * (MANY - 500))
            some = await open_streams(app.port, [events_path(2)] * (500 - STALLED))
            stalled = await open_streams(app.port, [events_path(2)] * STALLED, little=True)
            for stream in stalled:
                stream.stop_reading()
            before = (await client.get("/stats")).json()
            assert before["streams"] == MANY
            began, number, told = time.monotonic(), 0, before
            while told["streams"] > MANY - STALLED:
                assert time.monotonic() < began + FILLED_WITHIN, told
                await all_have([stream.view for stream in some], await bump(client, 2, *everyone))
                if number % 20 == 0:
                    await all_have([stream.view for stream in many], await bump(client, 1, "label"))
                number += 1
                told = (await client.get("/stats")).json()
            assert told["streams"] == MANY - STALLED
            assert told["rss"] - before["rss"] < 24 * 1024
            assert not any(stream.closed for stream in (*many, *some))
            for stream in stalled:
                stream.go_on_reading()
            await until(lambda: all(stream.closed for stream in stalled), "the stalled find that they are closed")
            assert not any(stream.ended for stream in stalled)
            close_all([*many, *some])
    assert_no_traceback(app)


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
async def test_a_stalled_socket_is_closed(server: AppServerProgram) -> None:
    """A socket whose client does not read is closed; with a code that says so, if the server can send one past it."""
    hub = {"send_timeout": SEND_TIMEOUT, "heartbeat": 60}
    with desk(server=server, hub=hub, more_models=MORE_MODELS) as app:
        stalled = await EventSocket.open(app.port, socket_path(), little=True)
        other = await EventSocket.open(app.port, socket_path())
        for socket in (stalled, other):
            socket.subscribe(1)
        await until(lambda: stalled.views["1"].fulls and other.views["1"].fulls, "both have their snapshot")
        stalled.stop_reading()
        await fill_until(app, other, sockets=1)
        stalled.go_on_reading()
        await until(lambda: stalled.closed, "it finds that it is closed")
        # The others let nothing past what was not read, and then cut the connection.
        assert stalled.close_code == (4408 if server == "hypercorn" else None)
        other.close()
    assert_no_traceback(app)


async def test_a_slow_socket_gets_what_is_newest() -> None:
    """A client that reads again in time gets the newest tokens, not all that it has missed."""
    with desk(hub={"send_timeout": 30, "heartbeat": 60}, more_models=MORE_MODELS) as app:
        slow = await EventSocket.open(app.port, socket_path(), little=True)
        slow.subscribe(1)
        await until(lambda: slow.views["1"].fulls, "it has its snapshot")
        slow.stop_reading()
        async with httpx.AsyncClient(base_url=app.base_url, timeout=30) as client:
            for _ in range(150):
                new = await bump(client, 1, *EVERY_MODEL)
        slow.go_on_reading()
        await until(lambda: slow.views["1"].tokens == new, "it has the newest tokens")
        assert slow.views["1"].events < 120
        slow.close()


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
async def test_a_socket_that_does_not_answer_is_closed(server: AppServerProgram) -> None:
    """A client that reads heartbeats and answers none is closed with a code that says so; one that does is not."""
    with desk(server=server, hub={"heartbeat": 0.4, "send_timeout": SEND_TIMEOUT}) as app:
        silent = await EventSocket.open(app.port, socket_path(), answers=False)
        answering = await EventSocket.open(app.port, socket_path())
        await until(lambda: silent.closed, "it is closed")
        assert silent.close_code == 4408
        assert silent.heartbeats
        await until(lambda: len(answering.heartbeats) > len(silent.heartbeats) + 3, "the other goes on")
        assert not answering.closed
        answering.close()
    assert_no_traceback(app)


async def fill_until(app: AppServer, reading: EventSocket, *, sockets: int) -> None:
    """Bump everything, as fast as the `reading` client gets it, until so few sockets are left."""
    async with httpx.AsyncClient(base_url=app.base_url, timeout=30) as client:
        began = time.monotonic()
        while (told := (await client.get("/stats")).json())["sockets"] > sockets:
            assert time.monotonic() < began + FILLED_WITHIN, told
            await all_have([reading.views["1"]], await bump(client, 1, *EVERY_MODEL))
