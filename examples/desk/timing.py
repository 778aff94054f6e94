"""The `Server-Timing` header (W3C), which shows whether a request reached its handler and the database."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

# Any is what both frameworks' ASGI types agree on.
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Timing:
    """One request's times, in seconds of `perf_counter`."""

    started: float = field(default_factory=perf_counter)
    handler_started: float | None = None
    statement_started: float = 0.0
    database: float | None = None

    def header(self) -> bytes:
        """Return the field: milliseconds in all, and in the handler and the database if they were reached."""
        now = perf_counter()
        parts = [f"total;dur={(now - self.started) * 1000:.2f}"]
        if self.handler_started is not None:
            parts.append(f"handler;dur={(now - self.handler_started) * 1000:.2f}")
        if self.database is not None:
            parts.append(f"db;dur={self.database * 1000:.2f}")
        return ", ".join(parts).encode("ascii")


_timing: ContextVar[Timing | None] = ContextVar("timing", default=None)


class ServerTimingMiddleware:
    """Adds `Server-Timing` to every response; stands outside everything that it measures."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        timing = Timing()

        async def send_timed(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"server-timing", timing.header())]
                message = {**message, "headers": headers}
            await send(message)

        reset = _timing.set(timing)
        try:
            await self.app(scope, receive, send_timed)
        finally:
            _timing.reset(reset)


def handler_reached() -> None:
    """Note that the request got as far as its handler."""
    if timing := _timing.get():
        timing.handler_started = perf_counter()


def measure_database(engine: AsyncEngine) -> None:
    """Count the time of each statement towards the request that sent it."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _before(*_: Any) -> None:
        if timing := _timing.get():
            timing.statement_started = perf_counter()
            timing.database = timing.database or 0.0

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def _after(*_: Any) -> None:
        if (timing := _timing.get()) and timing.database is not None:
            timing.database += perf_counter() - timing.statement_started
