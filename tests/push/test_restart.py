"""A thousand clients whose server restarts, and clients that vanish."""

import asyncio

import httpx

from tests.push.desks import assert_no_traceback, close_all, desk, events_path, socket_path, stats, truth_of
from tests.push.sse_client import EventStream, open_streams
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.proxy import Proxy
from tests.support.servers import HOST, RedisServer

CLIENTS = 1_000
HURRY = 4
"""How much faster than they are told to the clients of this test come back."""


async def test_a_thousand_clients_come_back(redis_server_own: RedisServer) -> None:
    """After a restart all come back spread out, get what they have missed and no more, and no handler is called."""
    async with truth_of(redis_server_own) as truth:
        with desk(store=redis_server_own.url) as app:
            streams = await open_streams(app.port, [events_path()] * CLIENTS)
            retries = sorted(stream.retry for stream in streams)
            app.kill()
            await until(lambda: all(stream.closed for stream in streams), "all have noticed")
            missed = await truth.revalidator.bump("1", "label")
            await asyncio.to_thread(app.start)

            async def come_back(stream: EventStream) -> EventStream:
                await asyncio.sleep(stream.retry / 1000 / HURRY)
                [again] = await open_streams(app.port, [events_path()], known=stream.id)
                again.view.tokens = {**stream.tokens, **again.tokens}
                return again

            back = await asyncio.gather(*map(come_back, streams))
            await truth.settled("1", lambda: [stream.tokens for stream in back])
            told = await stats(app.base_url)
            close_all(back)
        assert (told["calls"], told["streams"]) == (0, CLIENTS)
        assert {stream.view.fulls for stream in back} == {0}
        assert {stream.shown()["label"] for stream in back} == {missed["label"]}
        assert len(set(retries)) > CLIENTS / 20
        assert retries[-1] > 1.5 * retries[0]
        assert_no_traceback(app)


async def test_clients_that_leave_are_let_go_of() -> None:
    """What clients close, in whatever way, the app lets go of at once, though nothing is bumped."""
    with desk() as app, httpx.Client(base_url=app.base_url) as client:
        streams = await open_streams(app.port, [events_path()] * 50)
        sockets = [await EventSocket.open(app.port, socket_path()) for _ in range(50)]
        told = client.get("/stats").json()
        assert (told["streams"], told["sockets"]) == (50, 50)
        close_all([*streams, *sockets])
        await until(
            lambda: client.get("/stats").json() | {"streams": 0, "sockets": 0} == client.get("/stats").json(), ""
        )
        assert_no_traceback(app)


async def test_sockets_that_vanish_are_let_go_of() -> None:
    """Sockets behind a network that has gone silent are closed for want of an answer; others stay."""
    with desk(hub={"heartbeat": 0.3, "send_timeout": 1.0}) as app, httpx.Client(base_url=app.base_url) as client:
        proxy = Proxy(HOST, app.port)
        async with proxy.serving() as port:
            vanished = [await EventSocket.open(port, socket_path()) for _ in range(20)]
            staying = await EventSocket.open(app.port, socket_path())
            proxy.partition()
            await until(lambda: client.get("/stats").json()["sockets"] == 1, "the silent ones are let go of")
            proxy.heal()
            await until(lambda: all(socket.closed for socket in vanished), "they are told, when they are back")
            assert {socket.close_code for socket in vanished} == {4408}
            assert not staying.closed
            staying.close()
        assert_no_traceback(app)


async def test_streams_that_vanish_are_let_go_of() -> None:
    """Streams behind a network that has gone silent are let go of at their age at the latest."""
    with desk(hub={"max_age": 3.0, "send_timeout": 1.0}) as app, httpx.Client(base_url=app.base_url) as client:
        proxy = Proxy(HOST, app.port)
        async with proxy.serving() as port:
            streams = await open_streams(port, [events_path()] * 20)
            proxy.partition()
            await until(lambda: client.get("/stats").json()["streams"] == 0, "they are let go of")
            proxy.heal()
            await until(lambda: all(stream.ended for stream in streams), "they are told, when they are back")
            assert {stream.close_code for stream in streams} == {4410}
            assert max(stream.retry for stream in streams) < 1_000
            close_all(streams)
        assert_no_traceback(app)
