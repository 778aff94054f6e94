"""FastAPI's own server-sent events: a path operation that yields what it reads from a queue of its own."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

from benchmarks.contestants.feed import EVENT, FIRE, News, news

app = FastAPI(openapi_url=None)
_queues: set["asyncio.Queue[ServerSentEvent]"] = set()


def _event(told: News) -> ServerSentEvent:
    return ServerSentEvent(raw_data=told.data, event=EVENT, id=told.id)


@app.post(FIRE, status_code=204)
async def fire() -> None:
    """Tell all."""
    event = _event(news())
    for queue in _queues:
        queue.put_nowait(event)


@app.get("/api/v1/accounts/{account_id}/cache_keys/events", response_class=EventSourceResponse)
async def events(account_id: int) -> AsyncIterator[ServerSentEvent]:  # noqa: ARG001 - the path's
    """Begin a stream."""
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    _queues.add(queue)
    try:
        yield _event(news())
        while True:
            yield await queue.get()
    finally:
        _queues.discard(queue)
