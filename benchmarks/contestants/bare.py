"""The limits: ASGI callables that answer every request with one fixed 304."""

from benchmarks.contestants.asgi import Headers, Message, Receive, Send, live

ETAG = b'W/"cOtUEM8ZuNVu1Y0Xq0vTUA"'


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer 304 with an ETag and nothing else."""
    if scope["type"] != "http":
        await live(receive, send)
        return
    await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", ETAG)]})
    await send({"type": "http.response.body", "body": b""})


HEADERS: Headers = [
    (b"etag", ETAG),
    (b"cache-control", b"private, no-cache"),
    (b"cache-keys", b'label="17959876543210121234"'),
    (b"vary", b"Authorization, Cookie"),
]


async def with_headers(scope: Message, receive: Receive, send: Send) -> None:
    """Answer 304 with as many headers as the library's 304 has."""
    if scope["type"] != "http":
        await live(receive, send)
        return
    await send({"type": "http.response.start", "status": 304, "headers": list(HEADERS)})
    await send({"type": "http.response.body", "body": b""})
