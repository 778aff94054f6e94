"""The requests that cost most where they cost a little more: an app in memory, and what is asked of it.

`python -m benchmarks.hot_path` counts what the library does for each of them and prints it as JSON, for the test that
guards it (`tests/middleware/test_cost.py`). `python -m benchmarks.profile` shows where the time goes.
"""

import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.counting import count
from cache_revalidate import CacheRevalidateMiddleware, Connection, Revalidator
from cache_revalidate.types import Message, Receive, Scope, Send

PREFIX: Final = "/api/v1/accounts"
TENANTS: Final = 1_000
ROUTES: Final = 500

# As a browser sends them.
_HEADERS: Final = (
    (b"host", b"desk.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.9"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"connection", b"keep-alive"),
    (b"cookie", b"session=c2Vzc2lvbg"),
    (b"x-agent", b"ann"),
)


def agent(connection: Connection, tenant: str) -> str | None:  # noqa: ARG001
    """Say who asks, as cheaply as an app can that is told in a header: what this costs is the app's own."""
    for name, value in connection.scope["headers"]:
        if name == b"x-agent":
            return str(value, "latin-1")
    return None


async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Answer an empty list."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"[]"})


async def receive() -> Message:
    """Receive nothing more."""
    return {"type": "http.disconnect"}


async def drop(message: Message) -> None:
    """Send a message nowhere."""


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never has to wait, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("The request had to wait.")


def asking(path: str, etag: bytes | None = None) -> Scope:
    """Return the scope of a GET, as servers make it: a new one each time."""
    headers = [*_HEADERS] if etag is None else [*_HEADERS, (b"if-none-match", etag)]
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "state": {},
    }


class Desk:
    """An app with so many routes declared, behind the middleware, with its tokens in memory."""

    def __init__(self, routes: int = 10) -> None:
        self.revalidator = Revalidator(["inbox", "label", "team"])
        self.last = f"list{routes - 1}"
        self.middleware = CacheRevalidateMiddleware(
            app,
            revalidator=self.revalidator,
            authorize=agent,
            routes={f"{PREFIX}/{{account_id:int}}/list{number}": ["label"] for number in range(routes)},
        )

    def etag(self, path: str) -> bytes:
        """Return the entity tag that a client is given."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        run(self.middleware(asking(path), receive, send))
        etag: bytes = dict(sent[0]["headers"])[b"etag"]
        return etag

    def request(self, path: str, *, holding: bool) -> Callable[[], None]:
        """Return what makes one request, with the tag that its client holds or without one; it was made before."""
        etag = self.etag(path) if holding else None

        def request() -> None:
            run(self.middleware(asking(path, etag), receive, drop))

        request()
        return request


@dataclass(frozen=True)
class Scenario:
    """A kind of request."""

    name: str
    run: Callable[[], object]


def scenarios() -> list[Scenario]:
    """Return the kinds of request that are counted; those with one name ahead of the colon should cost the same."""
    few, many, crowded = Desk(1), Desk(ROUTES), Desk(1)
    for tenant in range(TENANTS):
        crowded.request(f"{PREFIX}/{tenant}/list0", holding=True)
    other, tenants = f"{PREFIX}/1/conversations", iter(range(TENANTS, 2 * TENANTS))
    return [
        Scenario("unmatched: 1 route", few.request(other, holding=False)),
        Scenario("unmatched: 500 routes", many.request(other, holding=False)),
        Scenario("new path: 1 route", lambda: few.middleware._table.match(f"{PREFIX}/{next(tenants)}/list0")),
        Scenario("new path: 500 routes", lambda: many.middleware._table.match(f"{PREFIX}/{next(tenants)}/{many.last}")),
        Scenario("not modified: 1 route", few.request(f"{PREFIX}/1/list0", holding=True)),
        Scenario("not modified: 500 routes", many.request(f"{PREFIX}/1/{many.last}", holding=True)),
        Scenario("not modified: 1,000 tenants", crowded.request(f"{PREFIX}/7/list0", holding=True)),
        Scenario("passed on and marked: 1 route", few.request(f"{PREFIX}/1/list0", holding=False)),
        Scenario("passed on and marked: 500 routes", many.request(f"{PREFIX}/1/{many.last}", holding=False)),
        Scenario("keys not modified: 1 route", few.request(f"{PREFIX}/1/cache_keys", holding=True)),
        Scenario("keys not modified: 500 routes", many.request(f"{PREFIX}/1/cache_keys", holding=True)),
    ]


def main() -> None:
    """Print what each kind of request was counted to do."""
    json.dump({scenario.name: vars(count(scenario.run)) for scenario in scenarios()}, sys.stdout)


if __name__ == "__main__":
    main()
