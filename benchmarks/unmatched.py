"""What the middleware adds to a request that matches no declared route, within one process."""

import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.bench import Bench
from benchmarks.contestants.asgi import Message, Receive, Send
from benchmarks.contestants.desk import PATTERN
from benchmarks.requests import AppClient
from benchmarks.results import Goal, Part, Row, Table
from benchmarks.rounds import Contestant, Spread, interleave, timed
from cache_revalidate import CacheRevalidateMiddleware, Revalidator, allow_everyone

NAME = "unmatched"
TITLE = "A request that matches no declared route: the time added"

_REPEATED = 200
"""Requests for each operation of the size: one takes less than a microsecond."""
_OTHER = "/other/path"

_NOTHING = "an app that does nothing"
_FRAME = "the same below one more `async def`"
_WRAPPED = "the same below the middleware"
_STARLETTE = "a constant route of Starlette's"


async def measure(bench: Bench) -> Part:
    """Measure an app that does nothing, bare and wrapped, beside a constant route of Starlette's."""
    bench.progress.begin(NAME)
    operations = bench.size.operations * _REPEATED
    apps = {
        _NOTHING: _nothing,
        _FRAME: _Frame(),
        _WRAPPED: _wrapped(),
        _STARLETTE: Starlette(routes=[Route(_OTHER, _constant)]),
    }
    contestants: dict[str, Contestant] = {
        name: timed(AppClient(app, _OTHER).send, operations, time.process_time_ns) for name, app in apps.items()
    }
    samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
    added = samples.difference(_WRAPPED, _NOTHING)
    route = samples.spread(_STARLETTE)
    share = [100 * value / route.median for value in (added.median, added.least, added.most)]
    rows = [
        Row("one more `async def`, the least there can be", samples.difference(_FRAME, _NOTHING), None),
        Row("the middleware, with ten declared routes", added, None, is_ours=True),
        Row("a constant route of Starlette's", route, None),
        Row("the middleware, in % of that route", Spread(*share), None, is_ours=True),
    ]
    return Part(
        NAME,
        TITLE,
        tables=[Table("added time", "µs", rows, "")],
        goals=[
            Goal("unmatched request, added time", 0.45, added.median, unit="µs"),
            Goal("unmatched request, of a constant Starlette route", 3.0, share[0], unit="%"),
        ],
    )


async def _nothing(scope: Message, receive: Receive, send: Send) -> None:
    pass


class _Frame:
    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await _nothing(scope, receive, send)


def _wrapped() -> CacheRevalidateMiddleware[object]:
    routes = {PATTERN.replace("labels", f"kind_{number}"): ["label"] for number in range(10)}
    return CacheRevalidateMiddleware(
        _nothing, revalidator=Revalidator(["label"]), authorize=allow_everyone, routes=routes
    )


async def _constant(_: Request) -> Response:
    return PlainTextResponse("")
