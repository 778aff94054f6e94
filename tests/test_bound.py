"""What was bound while one request was handled, and what its answer says then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from threading import Thread

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cache_revalidate import (
    ConfigurationError,
    Revalidator,
    SnapshotError,
    UnknownModelError,
    allow_everyone,
    new_token,
)
from cache_revalidate.bound import collect_bound
from cache_revalidate.starlette import CacheRevalidateMiddleware
from tests.plugins.desk import DetachableStore

PATH = "/accounts/{account_id:int}/desk"
FIRST, SECOND = new_token(), new_token()


@pytest.fixture
def store() -> DetachableStore:
    """Give the primary's store."""
    return DetachableStore()


@pytest.fixture
def revalidator(store: DetachableStore) -> Revalidator:
    """Give a revalidator of two models."""
    return Revalidator(["inbox", "label"], store)


Handler = Callable[[Request], Awaitable[Response]]


async def ask(
    revalidator: Revalidator, handler: Handler, *models: str, etag: str | None = None, method: str = "GET"
) -> httpx.Response:
    """Return what an app answers whose one handler depends on `models` (default: label)."""
    middleware = Middleware(
        CacheRevalidateMiddleware,
        revalidator=revalidator,
        authorize=allow_everyone,
        routes={PATH: models or ["label"]},
    )
    app = Starlette(routes=[Route(PATH, handler, methods=["GET", "POST"])], middleware=[middleware])
    headers = {"if-none-match": etag} if etag else {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk", headers=headers) as client:
        return await client.request(method, "/accounts/1/desk")


def is_unmarked(answer: httpx.Response) -> bool:
    """Say whether an answer was made that nobody may keep."""
    return answer.headers["cache-control"] == "no-store" and not {"etag", "cache-keys"} & set(answer.headers)


def test_tokens_of_what_was_bound(revalidator: Revalidator) -> None:
    """Each model has its one token; none at all where one is missing, has none, or has two."""
    with collect_bound(revalidator) as bindings:
        assert not bindings
        assert bindings.tokens("1", ["label"]) is None
        revalidator.bind(1, {"label": FIRST})
        revalidator.bind("1", {"label": FIRST})
        revalidator.bind(2, {"inbox": None, "label": SECOND})
        assert bindings.tokens("1", ["label"]) == {"label": FIRST}
        assert bindings.tokens("1", ["label", "inbox"]) is None
        assert (bindings.unbound("1", ["label", "inbox"]), bindings.unbound("2", ["inbox"])) == (["inbox"], [])
        revalidator.bind(1, {"inbox": SECOND})
        assert list((bindings.tokens("1", ["label", "inbox"]) or {}).items()) == [("inbox", SECOND), ("label", FIRST)]
        revalidator.bind(1, {"label": SECOND})
        assert bindings.tokens("1", ["inbox"]) == {"inbox": SECOND}
        assert bindings.tokens("1", ["label"]) is None
        assert bindings.tokens("2", ["inbox"]) is None


def test_binding_is_voided(revalidator: Revalidator) -> None:
    """What was bound and is voided leaves its models without a token, whatever is bound after it."""
    with collect_bound(revalidator) as bindings:
        void = revalidator.bind(1, {"label": FIRST})
        void()
        revalidator.bind(1, {"label": FIRST})
        assert bindings.tokens("1", ["label"]) is None


def test_what_can_not_be_bound(revalidator: Revalidator) -> None:
    """Unknown models and what is no token are refused; outside of a request, binding does nothing."""
    with pytest.raises(UnknownModelError):
        revalidator.bind(1, {"lable": FIRST})
    with pytest.raises(ConfigurationError, match="no version token"):
        revalidator.bind(1, {"label": "1"})
    revalidator.bind(1, {"label": FIRST})()


async def test_record_is_shared_with_tasks_and_threads(revalidator: Revalidator) -> None:
    """Bindings in a task and in a thread are in the record too, and those of another revalidator are not."""

    async def bind(model: str) -> None:
        revalidator.bind(1, {model: FIRST})

    with collect_bound(revalidator) as bindings:
        await asyncio.create_task(bind("label"))
        await asyncio.to_thread(revalidator.bind, 1, {"inbox": SECOND})
        Revalidator(["label"]).bind(1, {"label": SECOND})
        apart = Thread(target=revalidator.bind, args=(1, {"label": SECOND}))  # which has a context of its own
        apart.start()
        apart.join()
    assert bindings.tokens("1", ["label", "inbox"]) == {"inbox": SECOND, "label": FIRST}


async def test_record_is_closed_after_its_block(revalidator: Revalidator) -> None:
    """A task that outlives the request binds nothing."""
    is_over = asyncio.Event()

    async def late() -> None:
        await is_over.wait()
        revalidator.bind(1, {"label": FIRST})

    with collect_bound(revalidator) as bindings:
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    is_over.set()
    await task
    assert not bindings


async def test_answer_is_marked_with_what_was_bound(revalidator: Revalidator) -> None:
    """The tag and the Cache-Keys are those of the snapshot; it is the tag that the primary gives at that token."""

    async def handler(request: Request) -> Response:
        revalidator.bind(1, bound)
        return PlainTextResponse("rows")

    bound = {"label": FIRST}
    answer = await ask(revalidator, handler)
    assert answer.headers["cache-keys"] == f'label="{FIRST}"'
    assert answer.headers["cache-control"] == "private, no-cache"
    again = await ask(revalidator, handler, etag=answer.headers["etag"])
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    bound = await revalidator.tokens(1, "label")
    current = await ask(revalidator, handler, etag=answer.headers["etag"])
    assert current.status_code == 200
    assert (await ask(revalidator, handler, etag=current.headers["etag"])).status_code == 304
    head = await ask(revalidator, handler, method="HEAD")
    assert head.headers["etag"] == current.headers["etag"]


@pytest.mark.parametrize(
    "bound",
    [
        [(1, {"label": None, "inbox": FIRST})],
        [(1, {"label": FIRST, "inbox": FIRST}), (1, {"label": SECOND})],
        [(1, {"label": FIRST})],
        [(2, {"label": FIRST, "inbox": FIRST})],
    ],
    ids=["none is seen", "two differ", "a part", "another tenant"],
)
async def test_answer_without_validator(
    revalidator: Revalidator, bound: list[tuple[int, dict[str, str | None]]], caplog: pytest.LogCaptureFixture
) -> None:
    """Unless all that the route depends on was bound, the answer has no validator; what was forgotten is logged."""

    async def handler(request: Request) -> Response:
        for tenant, tokens in bound:
            revalidator.bind(tenant, tokens)
        return PlainTextResponse("rows")

    answer = await ask(revalidator, handler, "label", "inbox")
    assert (answer.status_code, is_unmarked(answer)) == (200, True)
    is_part = len(bound) == 1 and bound[0][1].get("label")
    assert ("the handler binds a snapshot, but not for" in caplog.text) == bool(is_part)


async def test_bound_while_the_store_is_away(revalidator: Revalidator, store: DetachableStore) -> None:
    """A snapshot's tokens are right whatever the primary says, or does not say."""

    async def handler(request: Request) -> Response:
        revalidator.bind(1, {"label": FIRST})
        return PlainTextResponse("rows")

    store.is_away = True
    answer = await ask(revalidator, handler)
    assert answer.headers["cache-keys"] == f'label="{FIRST}"'


async def test_write_is_none_of_it(revalidator: Revalidator) -> None:
    """The answer to a write names what it minted, whatever it bound."""
    minted: dict[str, str] = {}

    async def handler(request: Request) -> Response:
        revalidator.bind(1, {"label": FIRST})
        minted.update(await revalidator.bump(1, "label"))
        return PlainTextResponse("rows")

    answer = await ask(revalidator, handler, method="POST")
    assert answer.headers["cache-keys"] == f'label="{minted["label"]}"'


async def test_bound_in_a_stream(revalidator: Revalidator) -> None:
    """A stream whose headers are sent can't be bound any more: it breaks off, so that nobody keeps it."""

    async def rows() -> AsyncIterator[bytes]:
        yield b"first "
        revalidator.bind(1, {"label": FIRST})
        yield b"second"

    async def handler(request: Request) -> Response:
        return StreamingResponse(rows())

    with pytest.raises(SnapshotError, match="before it returns the stream"):
        await ask(revalidator, handler)


async def test_bound_before_and_in_a_stream_without_validator(revalidator: Revalidator) -> None:
    """A stream that has no validator may bind what it likes."""

    async def rows() -> AsyncIterator[bytes]:
        yield b"first "
        revalidator.bind(1, {"label": FIRST})
        yield b"second"

    async def handler(request: Request) -> Response:
        revalidator.bind(1, {"label": None})
        return StreamingResponse(rows())

    answer = await ask(revalidator, handler)
    assert (answer.text, is_unmarked(answer)) == ("first second", True)


async def test_bound_after_the_answer(revalidator: Revalidator) -> None:
    """A background task reads what it likes: its rows are in no answer."""
    did: list[str] = []

    async def handler(request: Request) -> Response:
        def later() -> None:
            revalidator.bind(1, {"label": FIRST})
            did.append("bound")

        return PlainTextResponse("rows", background=BackgroundTask(later))

    answer = await ask(revalidator, handler)
    tokens = await revalidator.tokens(1, "label")
    assert (did, answer.headers["cache-keys"]) == (["bound"], f'label="{tokens["label"]}"')


async def test_own_headers_win(revalidator: Revalidator) -> None:
    """The app's own tag and Cache-Control stay; beside them the Cache-Keys are those of the snapshot."""

    async def handler(request: Request) -> Response:
        revalidator.bind(1, {"label": FIRST})
        return PlainTextResponse("rows", headers={"etag": '"own"', "cache-control": "max-age=5"})

    answer = await ask(revalidator, handler)
    shown = [answer.headers[name] for name in ("etag", "cache-control", "cache-keys")]
    assert shown == ['"own"', "max-age=5", f'label="{FIRST}"']
