"""Whichever way a request takes through the middleware, the answer is the same."""

import tracemalloc
from collections.abc import Sequence
from typing import ClassVar

import httpx
import pytest

from cache_revalidate import (
    CacheControl,
    CachePolicy,
    CacheRevalidateMiddleware,
    Connection,
    Keyspace,
    MemoryStore,
    Refused,
    Revalidator,
    Viewer,
)
from cache_revalidate.middleware import OutgoingMiddleware
from cache_revalidate.types import ASGIApp, Message, Receive, Scope, Send, Tokens
from tests.middleware.conftest import KEYS, LABELS, PATTERN, Desk, agent, client_of


class WaitingStore(MemoryStore):
    """A store that has nothing at hand, so that it has to be awaited."""

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Hold nothing."""
        return None


async def asynchronous(connection: Connection, tenant: str) -> Viewer | None:
    """Let in whom `agent` lets in, and raise where it refuses."""
    viewer = agent(connection, tenant)
    if viewer is None:
        raise Refused("Bearer")
    return viewer


@pytest.fixture(params=["fast", "waiting", "asynchronous", "nested"])
def app(request: pytest.FixtureRequest, desk: Desk) -> ASGIApp:
    """The desk behind the middleware, whose requests take one way or another."""
    revalidator = Revalidator(["label", "team"], WaitingStore() if request.param == "waiting" else None)
    app = CacheRevalidateMiddleware(
        desk,
        revalidator=revalidator,
        authorize=asynchronous if request.param == "asynchronous" else agent,
        routes={PATTERN: ["label"]},
    )
    return OutgoingMiddleware(app, revalidator=revalidator) if request.param == "nested" else app


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_what_is_current_is_not_modified(client: httpx.AsyncClient, desk: Desk, path: str) -> None:
    """A tag that is current makes a 304 without the app, also one of a long resource, which is not remembered."""
    for query in ("", "?" + "x" * 2_000):
        fresh = await client.get(path + query)
        reached = desk.reached
        for tag in (fresh.headers["etag"], f'"x", {fresh.headers["etag"]}'):
            unmodified = await client.get(path + query, headers={"if-none-match": tag})
            assert (unmodified.status_code, unmodified.headers["etag"]) == (304, fresh.headers["etag"])
        assert (await client.get(path + query, headers={"if-none-match": '"x"'})).status_code == 200
        assert desk.reached == reached + (path == LABELS)


async def test_who_is_refused_goes_on_unmarked(app: ASGIApp, client: httpx.AsyncClient, desk: Desk) -> None:
    """A refused caller, and a tenant that can't be one, get the app's own answer; the keys endpoint refuses."""
    etag = (await client.get(LABELS)).headers["etag"]
    async with client_of(app, "bob@2") as bob:
        for path in (LABELS, LABELS.replace("/1/", f"/{'9' * 300}/")):
            answer = await bob.get(path, headers={"if-none-match": etag})
            assert (answer.status_code, dict(answer.headers)) == (200, {"content-type": "text/plain"})
        assert (await bob.get(KEYS)).status_code in {401, 403}
        assert (await bob.post(KEYS)).status_code == 405
        assert (await bob.options(LABELS)).text == "rows"
        assert (await bob.post(LABELS.replace("/1/", f"/{'9' * 300}/"))).text == "rows"


async def test_answers_are_new_each_time(app: ASGIApp, client: httpx.AsyncClient) -> None:
    """What is sent twice from what is remembered is two messages: whoever changes one changes no other."""
    tags = {path: (await client.get(path)).headers["etag"].encode() for path in (LABELS, KEYS)}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if "headers" in message:
            message["headers"].append((b"set-cookie", b"user=%d" % len(sent)))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    for path in (LABELS, KEYS):
        for headers in ([], [(b"if-none-match", tags[path])]):
            for _ in range(2):
                await app(scope_of(path, headers), receive, send)
    starts = [message["headers"] for message in sent if "headers" in message]
    assert [sum(name == b"set-cookie" for name, _ in headers) for headers in starts] == [1] * 8
    assert len({id(message) for message in sent}) == len(sent)


def scope_of(path: str, headers: list[tuple[bytes, bytes]]) -> Scope:
    """Return the scope of ann's GET."""
    return {"type": "http", "method": "GET", "path": path, "headers": [(b"x-agent", b"ann@1"), *headers]}


async def test_one_tag_for_all_ways(desk: Desk) -> None:
    """The tag is that of the tokens, whether they were at hand or not, and in whichever process."""
    held, awaited = Revalidator(["label"]), Revalidator(["label"], WaitingStore())
    token = (await held.bump(1, "label"))["label"]
    assert isinstance(awaited.store, WaitingStore)
    await awaited.store.raise_tokens(awaited.keyspace, {"1": {"label": token}})
    tags = set()
    for revalidator in (held, awaited):
        app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: ["label"]})
        async with client_of(app) as client:
            tags |= {(await client.get(LABELS)).headers["etag"] for _ in range(2)}
    assert len(tags) == 1


async def test_two_declarations_keep_their_answers_apart(desk: Desk, revalidator: Revalidator) -> None:
    """What is remembered of one middleware's answers is none of another's, whatever they share."""
    fields = []
    for seconds in (5, 7):
        policy = CachePolicy(["label"], cache_control=CacheControl(max_age=seconds))
        app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: policy})
        async with client_of(app) as client:
            fresh = await client.get(LABELS)
            unmodified = await client.get(LABELS, headers={"if-none-match": fresh.headers["etag"]})
            fields.append((fresh.headers["cache-control"], unmodified.headers["cache-control"]))
    assert fields == [("max-age=5, private",) * 2, ("max-age=7, private",) * 2]


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_a_store_may_go_on_with_what_it_gave(desk: Desk, path: str) -> None:
    """A store that gives out the very dictionary it keeps, and writes into it, is noticed to have changed."""

    class OwnDictionary(MemoryStore):
        tokens: ClassVar[Tokens] = {"label": "1" * 20}

        def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
            return self.tokens

    revalidator = Revalidator(["label"], OwnDictionary())
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: ["label"]})
    async with client_of(app) as client:
        match = {"if-none-match": (await client.get(path)).headers["etag"]}
        assert (await client.get(path, headers=match)).status_code == 304
        OwnDictionary.tokens["label"] = "2" * 20
        assert (await client.get(path, headers=match)).status_code == 200


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_two_viewers_keep_their_answers_apart(app: ASGIApp, client: httpx.AsyncClient, path: str) -> None:
    """What is remembered of one viewer's answers is none of another's, though all else is the same."""
    etag = (await client.get(path)).headers["etag"]
    async with client_of(app, "abe@1") as abe:
        other = await abe.get(path, headers={"if-none-match": etag})
        assert other.status_code == 200
        assert other.headers["etag"] != etag
    assert (await client.get(path, headers={"if-none-match": etag})).status_code == 304


async def test_a_304_follows_what_the_app_says(client: httpx.AsyncClient, desk: Desk) -> None:
    """The 304 that is remembered is made anew when the app's own headers change, begin or end."""
    seen = []
    for own in ([], [(b"vary", b"Accept")], [(b"vary", b"Origin")], []):
        desk.headers = [*own]
        etag = (await client.get(LABELS)).headers["etag"]
        match = {"if-none-match": etag}
        seen += [(await client.get(LABELS, headers=match)).headers["vary"] for _ in range(2)]
    whole = [f"{own}Authorization, Cookie" for own in ("", "Accept, ", "Origin, ", "")]
    assert seen == [vary for vary in whole for _ in range(2)]


async def test_a_rewritten_request_is_judged_as_it_came_to_the_middleware(revalidator: Revalidator, desk: Desk) -> None:
    """What is further in may rewrite the scope; what is remembered stays that of the path that was asked for."""

    async def rewriting(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = "/elsewhere"
        await desk(scope, receive, send)

    app = CacheRevalidateMiddleware(rewriting, revalidator=revalidator, authorize=agent, routes={PATTERN: ["label"]})
    async with client_of(app) as client:
        etag = (await client.get(LABELS)).headers["etag"]
        assert (await client.get(LABELS, headers={"if-none-match": etag})).status_code == 304


async def test_what_callers_make_large_is_not_remembered(desk: Desk, revalidator: Revalidator) -> None:
    """A header that is sent often, and empty, is answered each time, and takes no memory between the requests."""
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: ["label"]})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        """Keep nothing."""

    async def ask(number: int) -> None:
        for path in (LABELS, KEYS):
            scope = scope_of(path, [(b"".join([b"acc", b"ept"]), b"") for _ in range(150)])
            await app({**scope, "query_string": b"%d" % number}, receive, send)
        desk.scopes.clear()

    await ask(0)
    tracemalloc.start()
    try:
        for number in range(1, 101):
            await ask(number)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 100 * 5_000
