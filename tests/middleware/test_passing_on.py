"""What the middleware leaves alone, and what it does not hold back."""

import asyncio
import logging
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from cache_revalidate import CacheRevalidateMiddleware, Revalidator, allow_everyone
from cache_revalidate.types import ASGIApp, Message, Receive, Scope, Send
from tests.middleware.conftest import KEYS, LABELS, PATTERN, Desk, agent, client_of
from tests.middleware.test_keys_endpoint import AbsentStore


async def nothing() -> Message:
    """Receive nothing more."""
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_protocols_pass_untouched(revalidator: Revalidator, kind: str) -> None:
    """Lifespan and WebSocket reach the app with the very objects they came with."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send))

    async def send(message: Message) -> None: ...

    scope: Scope = {"type": kind, "path": LABELS, "headers": []}
    middleware = CacheRevalidateMiddleware(
        app, revalidator=revalidator, authorize=allow_everyone, routes={PATTERN: ["label"]}
    )
    await middleware(scope, nothing, send)
    assert [id(one) for one in seen] == [id(scope), id(nothing), id(send)]


@pytest.mark.parametrize("path", ["/", "/api/v1/accounts/1/labels/", "/api/v1/accounts/x/labels"])
async def test_an_unmatched_request_passes_untouched(revalidator: Revalidator, path: str) -> None:
    """A request that no pattern matches reaches the app with the very objects it came with."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send))

    async def send(message: Message) -> None: ...

    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    middleware = CacheRevalidateMiddleware(app, revalidator=revalidator, authorize=allow_everyone)
    await middleware(scope, nothing, send)
    assert [id(one) for one in seen] == [id(scope), id(nothing), id(send)]


async def test_a_refused_request_goes_on_as_it_came(app: ASGIApp, desk: Desk) -> None:
    """A caller who is refused on a declared route gets the app's own answer, with nothing added."""
    async with client_of(app, "bob@2") as client:
        answer = await client.get(LABELS)
    assert (answer.status_code, dict(answer.headers)) == (200, {"content-type": "text/plain"})


async def test_a_tenant_that_is_invalid_is_left_to_the_app(client: httpx.AsyncClient, desk: Desk) -> None:
    """A declared route's path with an impossible tenant goes on to the app, untagged."""
    answer = await client.get("/api/v1/accounts/" + "9" * 300 + "/labels")
    assert (answer.status_code, dict(answer.headers)) == (200, {"content-type": "text/plain"})


async def test_a_stream_is_not_buffered(desk: Desk, revalidator: Revalidator) -> None:
    """Each chunk of a streaming answer leaves before the app has made the next one."""
    sent: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            assert sent[-1] == b"%d" % number
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Message) -> None:
        sent.append(message.get("body", b"start"))

    middleware = CacheRevalidateMiddleware(
        app, revalidator=revalidator, authorize=allow_everyone, routes={PATTERN: ["label"]}
    )
    await middleware({"type": "http", "method": "GET", "path": LABELS, "headers": []}, nothing, send)
    assert sent == [b"start", b"0", b"1", b"2", b""]


async def test_the_apps_messages_are_not_changed(client: httpx.AsyncClient, desk: Desk) -> None:
    """A header list that an app keeps and sends each time stays as the app made it."""
    for _ in range(3):
        await client.get(LABELS)
    assert desk.headers == [(b"content-type", b"text/plain")]


async def test_an_exception_in_the_app_passes(desk: Desk, revalidator: Revalidator) -> None:
    """What a handler raises reaches whoever is around the middleware."""

    async def fail() -> None:
        raise LookupError("handler")

    desk.before_answer = fail
    app = CacheRevalidateMiddleware(
        desk, revalidator=revalidator, authorize=allow_everyone, routes={PATTERN: ["label"]}
    )
    async with client_of(app) as client:
        for method in ("GET", "POST"):
            with pytest.raises(LookupError, match="handler"):
                await client.request(method, LABELS)


async def test_a_store_that_is_away_leaves_200s_that_nobody_keeps(desk: Desk) -> None:
    """Without tokens the app answers, the answer is `no-store` unless it says better, and there is no tag."""
    app = CacheRevalidateMiddleware(
        desk,
        revalidator=Revalidator(["label"], AbsentStore()),
        authorize=allow_everyone,
        routes={PATTERN: ["label"]},
    )
    async with client_of(app) as client:
        answer = await client.get(LABELS, headers={"if-none-match": 'W/"any"'})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert "etag" not in answer.headers
        assert "cache-keys" not in answer.headers
        desk.headers.append((b"cache-control", b"private, max-age=1"))
        assert (await client.get(LABELS)).headers["cache-control"] == "private, max-age=1"


async def test_it_works_under_a_mount(revalidator: Revalidator) -> None:
    """Mounted below a path, the patterns are those of the mounted app."""

    async def labels(request: Any) -> PlainTextResponse:
        return PlainTextResponse("rows")

    inner = CacheRevalidateMiddleware(
        Starlette(routes=[Route(PATTERN, labels)]),
        revalidator=revalidator,
        authorize=agent,
        routes={PATTERN: ["label"]},
    )
    async with client_of(Starlette(routes=[Mount("/desk", inner)])) as client:
        etag = (await client.get("/desk" + LABELS)).headers["etag"]
        assert (await client.get("/desk" + LABELS, headers={"if-none-match": etag})).status_code == 304
        assert (await client.get("/desk" + KEYS)).status_code == 200
        assert (await client.get(LABELS)).status_code == 404


async def test_parallel_requests_keep_to_themselves(client: httpx.AsyncClient, desk: Desk) -> None:
    """Of many requests at once, those that hold the tag get a 304 and the others their 200."""

    async def breathe() -> None:
        await asyncio.sleep(0)

    desk.before_answer = breathe
    etag = (await client.get(LABELS)).headers["etag"]
    answers = await asyncio.gather(
        *(client.get(LABELS, headers={"if-none-match": etag if number % 2 else '"x"'}) for number in range(40))
    )
    assert [answer.status_code for answer in answers] == [200, 304] * 20


async def test_only_four_thousand_own_headers_are_kept(client: httpx.AsyncClient, desk: Desk) -> None:
    """What is remembered of the app's own headers is bounded: the oldest is forgotten, and declared ones are sent."""
    desk.headers.append((b"vary", b"Accept"))
    first = (await client.get(LABELS)).headers["etag"]
    for page in range(4096):
        await client.get(f"{LABELS}?page={page}")
    unmodified = await client.get(LABELS, headers={"if-none-match": first})
    assert (unmodified.status_code, unmodified.headers["vary"]) == (304, "Authorization, Cookie")


@pytest.mark.parametrize("status", [200, 304])
async def test_own_headers_in_use_are_kept(client: httpx.AsyncClient, desk: Desk, status: int) -> None:
    """What an answer was sent with lately, be it a 200 or a 304, is not forgotten for newer ones."""
    desk.headers.append((b"vary", b"Accept"))
    first = (await client.get(LABELS)).headers["etag"]
    conditional = {"if-none-match": first}
    for page in range(5000):
        await client.get(f"{LABELS}?page={page}")
        if page % 1000 == 0:
            again = await client.get(LABELS, headers=conditional if status == 304 else {})
            assert again.status_code == status
    assert (await client.get(LABELS, headers=conditional)).headers["vary"] == "Accept, Authorization, Cookie"


async def test_nothing_is_logged_of_requests(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """An answered request is no event for the log."""
    with caplog.at_level(logging.DEBUG, "cache_revalidate"):
        await client.get(LABELS)
    assert not caplog.records


async def test_a_request_may_be_run_again(desk: Desk, app: ASGIApp) -> None:
    """A middleware further out that runs the app twice with one scope gets the same answer twice."""
    answers: list[int] = []
    tagged: list[bool] = []

    async def twice(scope: Scope, receive: Receive, send: Send) -> None:
        async def first(message: Message) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])
                tagged.append(b"etag" in dict(message["headers"]))

        await app(scope, receive, first)
        await app(scope, receive, send)

    async with client_of(twice) as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, LABELS)
            answers.append(answer.status_code)
            tagged.append("etag" in answer.headers)
    assert (answers, tagged) == ([200] * 4, [True, True, False, False])
