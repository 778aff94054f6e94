"""Behind nginx as it comes: nothing is held back, nothing compressed."""

from collections.abc import Iterator

import httpx
import pytest

from tests.push.desks import all_have, bump, desk, events_path, socket_path
from tests.push.sse_client import EventStream, open_streams
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.nginx import NginxServer
from tests.support.servers import AppServer

AT_ONCE = 1.0
HEARTBEAT = 2.5
"""Seconds within which there is one: half a second, and what makes many timers cheap."""
_GZIP = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_http_version 1.0; gzip_types {};"
GZIP = _GZIP.format("text/plain application/json")
GZIP_EVERYTHING = _GZIP.format("*")
UPGRADE = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'


@pytest.fixture(scope="module")
def app() -> Iterator[AppServer]:
    """The app, in a process of its own."""
    with desk(hub={"heartbeat": 0.5}) as app:
        yield app


@pytest.mark.parametrize("directives", ["", GZIP], ids=["as it comes", "gzip"])
async def test_events_arrive_at_once(app: AppServer, directives: str) -> None:
    """Each event and heartbeat arrives as it is sent, as text, though the client takes gzip and nginx buffers."""
    with NginxServer(app.base_url, directives) as nginx:
        [stream] = await open_streams(nginx.port, [events_path()], headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in stream.headers
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        await hears_at_once(app, stream)


async def test_nginx_that_compresses_all(app: AppServer) -> None:
    """An nginx that is told to compress every type does, whatever `no-transform` says, and holds nothing back."""
    with NginxServer(app.base_url, GZIP_EVERYTHING) as nginx:
        [stream] = await open_streams(nginx.port, [events_path()], headers={"accept-encoding": "gzip"})
        assert stream.headers["content-encoding"] == "gzip"
        await hears_at_once(app, stream)


async def hears_at_once(app: AppServer, stream: EventStream) -> None:
    """See some events and a heartbeat arrive in time."""
    async with httpx.AsyncClient(base_url=app.base_url) as client:
        for _ in range(3):
            await all_have([stream.view], await bump(client, 1, "label"), within=AT_ONCE)
    beats = stream.heartbeats
    await until(lambda: stream.heartbeats > beats, "a heartbeat came", HEARTBEAT + AT_ONCE)
    assert stream.live
    stream.close()


async def test_nginx_is_left_at_once(app: AppServer) -> None:
    """A client that leaves nginx leaves the app, too."""
    with NginxServer(app.base_url) as nginx, httpx.Client(base_url=app.base_url) as client:
        open_before = client.get("/stats").json()["streams"]
        streams = await open_streams(nginx.port, [events_path()] * 5)
        assert client.get("/stats").json()["streams"] == open_before + 5
        for stream in streams:
            stream.close()
        await until(lambda: client.get("/stats").json()["streams"] == open_before, "the app let go")


async def test_a_socket_behind_nginx(app: AppServer) -> None:
    """A WebSocket works where nginx is told to pass the upgrade on."""
    with NginxServer(app.base_url, UPGRADE) as nginx:
        socket = await EventSocket.open(nginx.port, socket_path())
        socket.subscribe(1)
        await until(lambda: socket.views["1"].fulls, "the snapshot came")
        async with httpx.AsyncClient(base_url=app.base_url) as client:
            new = await bump(client, 1, "label")
        await until(lambda: socket.views["1"].tokens["label"] == new["label"], "the event came", AT_ONCE)
        await until(lambda: len(socket.heartbeats) > 1, "two heartbeats came, of which one was answered")
        socket.close()


async def test_nothing_is_cached(app: AppServer) -> None:
    """A shared cache in between keeps no stream: each client's is its own."""
    valid = "proxy_cache_valid 200 1h;"
    with NginxServer(app.base_url, valid) as nginx:
        first, second = [await EventStream.open(nginx.port, events_path()) for _ in range(2)]
        await until(lambda: first.view.fulls and second.view.fulls, "both have their snapshot")
        assert first.headers["cache-control"] == "no-store, no-transform"
        first.close()
        second.close()
