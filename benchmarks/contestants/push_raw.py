"""The limit of a server: what it was given is sent to each connection in a loop, and each waits in `receive()`.

Nothing is kept for a connection but its `send`, so its memory is the server's own.
"""

from benchmarks.contestants.asgi import Message, Receive, Send, answer, live
from benchmarks.contestants.feed import FIRE, news

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"vary", b"Authorization, Cookie"),
]
_streams: set[Send] = set()
_sockets: set[Send] = set()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve one scope."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["type"] == "websocket":
        await _socket(receive, send)
    elif scope["path"] == FIRE:
        await _fire()
        await answer(send, 204, [])
    elif scope["path"].endswith("/events"):
        await _stream(receive, send)
    else:
        await answer(send, 404, [(b"content-length", b"0")])


async def _fire() -> None:
    told = news()
    frame, message = told.frame, told.message
    for send in [*_streams]:
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    for send in [*_sockets]:
        await send({"type": "websocket.send", "text": message})


async def _stream(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
    await send({"type": "http.response.body", "body": news().frame, "more_body": True})
    _streams.add(send)
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        _streams.discard(send)


async def _socket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    await send({"type": "websocket.send", "text": news().message})
    _sockets.add(send)
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        _sockets.discard(send)
