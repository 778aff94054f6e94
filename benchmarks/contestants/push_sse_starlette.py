"""sse-starlette, as its documentation says: a generator of its events that reads a queue, one for each connection."""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.contestants.feed import EVENT, FIRE, PATTERN, News, news

_queues: set["asyncio.Queue[ServerSentEvent]"] = set()


def _event(told: News) -> ServerSentEvent:
    return ServerSentEvent(told.data, event=EVENT, id=told.id)


async def fire(_: Request) -> Response:
    """Tell all."""
    event = _event(news())
    for queue in _queues:
        queue.put_nowait(event)
    return Response(status_code=204)


async def events(_: Request) -> Response:
    """Begin a stream."""
    response: Response = EventSourceResponse(_events())
    return response


async def _events() -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    _queues.add(queue)
    try:
        yield _event(news())
        while True:
            yield await queue.get()
    finally:
        _queues.discard(queue)


app = Starlette(routes=[Route(FIRE, fire, methods=["POST"]), Route(f"{PATTERN}/events", events)])
