"""What stands behind nginx and Varnish: an app whose answer a shared cache may keep."""

from benchmarks.contestants.asgi import JSON, LENGTH, Message, Receive, Send, answer, live
from benchmarks.contestants.desk import BODY


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer the fifty rows, with an ETag, to anyone."""
    if scope["type"] != "http":
        await live(receive, send)
        return
    headers = [JSON, LENGTH, (b"etag", b'"fifty-rows"'), (b"cache-control", b"public, max-age=3600")]
    await answer(send, 200, headers, BODY)
