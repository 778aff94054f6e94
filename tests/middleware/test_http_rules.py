"""The rules of RFC 9110 and 9111 that the middleware keeps, by their number in the project's list."""

import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cache_revalidate import CacheControl, CachePolicy, CacheRevalidateMiddleware, Revalidator, allow_everyone
from tests.middleware.conftest import KEYS, LABELS, PATTERN, Desk, agent, client_of


async def etag_of(client: httpx.AsyncClient, path: str = LABELS) -> str:
    """Fetch `path` once and return its tag."""
    return (await client.get(path)).headers["etag"]


async def test_rule_1_revoked_access_is_the_apps_answer(client: httpx.AsyncClient, desk: Desk) -> None:
    """A client whose access was revoked gets the app's 403, never a 304 for the tag it holds."""
    etag = await etag_of(client)
    desk.status = 403
    answer = await client.get(LABELS, headers={"if-none-match": etag, "x-agent": "ann@2"})
    assert answer.status_code == 403
    assert "etag" not in answer.headers
    assert "cache-keys" not in answer.headers


async def test_rule_1_a_lists_tag_says_nothing_of_an_object(desk: Desk, revalidator: Revalidator) -> None:
    """The tag of a list makes no 304 of an object's 404, though both depend on the same token."""
    routes = {PATTERN: ["label"], PATTERN + "/{label_id:int}": ["label"]}
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes=routes)
    async with client_of(app) as client:
        etag = await etag_of(client)
        desk.status = 404
        assert (await client.get(f"{LABELS}/9", headers={"if-none-match": etag})).status_code == 404
        assert (await client.get(f"{LABELS}?page=9", headers={"if-none-match": etag})).status_code == 404
        desk.status = 200
        deleted = await etag_of(client, f"{LABELS}/7")
        await revalidator.bump(1, "label")
        desk.status = 404
        assert (await client.get(f"{LABELS}/7", headers={"if-none-match": deleted})).status_code == 404


async def test_rule_1_an_anonymous_head_gets_no_304(client: httpx.AsyncClient, desk: Desk) -> None:
    """A HEAD without credentials goes to the app, whatever tag it shows."""
    etag = await etag_of(client)
    desk.status = 401
    answer = await client.head(LABELS, headers={"if-none-match": etag, "x-agent": ""})
    assert answer.status_code == 401


async def test_rule_2_lists_of_tags_compare_weakly(client: httpx.AsyncClient, desk: Desk) -> None:
    """A tag is found in a list, over several lines, weak or strong; `*` and garbage are left to the app."""
    etag = await etag_of(client)
    strong = etag.removeprefix("W/")
    for field in (f'"x", {etag}', strong, f'"a,b" , {strong}'):
        assert (await client.get(LABELS, headers={"if-none-match": field})).status_code == 304
    lines = [("if-none-match", '"x"'), ("if-none-match", etag)]
    assert (await client.get(LABELS, headers=lines)).status_code == 304
    for field in ("*", "garbage", f'{etag} "unquoted', '"' + "x" * 10_000 + '"', f"{etag}," * 1000):
        assert (await client.get(LABELS, headers={"if-none-match": field})).status_code == 200
    assert desk.reached == 6


async def test_rule_3_a_matching_date_does_not_count(client: httpx.AsyncClient) -> None:
    """With If-None-Match there, If-Modified-Since is ignored."""
    headers = {"if-none-match": '"old"', "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    assert (await client.get(LABELS, headers=headers)).status_code == 200


async def test_rule_4_if_match_is_left_to_the_app(client: httpx.AsyncClient, desk: Desk) -> None:
    """A write with If-Match reaches the app, which alone can compare it."""
    etag = await etag_of(client)
    assert (await client.put(LABELS, headers={"if-match": etag})).status_code == 200
    assert (await client.get(LABELS, headers={"if-match": '"other"'})).status_code == 200
    assert desk.reached == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_rule_5_only_get_and_head_get_a_304(client: httpx.AsyncClient, desk: Desk, method: str) -> None:
    """Any other method runs the handler, and gets no tag."""
    etag = await etag_of(client)
    answer = await client.request(method, LABELS, headers={"if-none-match": etag})
    assert answer.status_code == 200
    assert "etag" not in answer.headers
    assert desk.reached == 2


@pytest.mark.parametrize(
    "own",
    [
        [],
        [(b"vary", b"Accept")],
        [(b"Vary", b"Accept"), (b"Cache-Control", b"private, max-age=5"), (b"Content-Location", b"/labels.json")],
        [(b"Expires", b"Fri, 01 Jan 2021 00:00:00 GMT")],
    ],
)
async def test_rule_6_a_304_repeats_the_headers_of_the_200(
    client: httpx.AsyncClient, desk: Desk, own: list[tuple[bytes, bytes]]
) -> None:
    """What the 200 said of its caching, the app's own words among it, the 304 says too; it has no body."""
    desk.headers += own
    fresh = await client.get(LABELS)
    unmodified = await client.get(LABELS, headers={"if-none-match": fresh.headers["etag"]})
    assert (unmodified.status_code, unmodified.content, desk.reached) == (304, b"", 1)
    repeated = ("etag", "vary", "cache-control", "content-location", "expires", "cache-keys")
    assert [unmodified.headers.get(name) for name in repeated] == [fresh.headers.get(name) for name in repeated]
    assert "content-length" not in unmodified.headers
    assert "content-type" not in unmodified.headers


async def test_rule_6_what_the_app_no_longer_says_is_no_longer_repeated(client: httpx.AsyncClient, desk: Desk) -> None:
    """An app that stops adding headers of its own is believed."""
    desk.headers.append((b"vary", b"Accept"))
    etag = await etag_of(client)
    desk.headers.pop()
    await client.get(LABELS)
    unmodified = await client.get(LABELS, headers={"if-none-match": etag})
    assert unmodified.headers["vary"] == "Authorization, Cookie"


async def test_rule_7_head_equals_get_without_the_body(client: httpx.AsyncClient) -> None:
    """HEAD has the same tag as GET, is answered 304 likewise, and the keys endpoint sends it no body."""
    etag = await etag_of(client)
    assert (await client.head(LABELS)).headers["etag"] == etag
    assert (await client.head(LABELS, headers={"if-none-match": etag})).status_code == 304
    got, headed = await client.get(KEYS), await client.head(KEYS)
    assert (headed.status_code, headed.content, headed.headers) == (200, b"", got.headers)


async def test_rule_8_a_tag_is_weak_and_survives_compression(desk: Desk, revalidator: Revalidator) -> None:
    """Gzipped or not, an answer has one weak tag; a range asked for under it is answered in full."""
    desk.chunks = [b"rows" * 1000]
    app = GZipMiddleware(
        CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: ["label"]})
    )
    async with client_of(app) as client:
        plain = await client.get(LABELS, headers={"accept-encoding": "identity"})
        packed = await client.get(LABELS, headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.headers["etag"] == packed.headers["etag"]
        assert plain.headers["etag"].startswith('W/"')
        headers = {"if-range": plain.headers["etag"], "range": "bytes=0-1"}
        assert (await client.get(LABELS, headers=headers)).status_code == 200


async def test_rule_9_tokens_are_read_before_the_handler(
    client: httpx.AsyncClient, desk: Desk, revalidator: Revalidator
) -> None:
    """A bump while the handler runs leaves the older tag on the answer, which is then asked for again."""
    before = await revalidator.tokens(1, "label")

    async def bump() -> None:
        await revalidator.bump(1, "label")

    desk.before_answer = bump
    answer = await client.get(LABELS)
    assert answer.headers["cache-keys"] == f'label="{before["label"]}"'
    desk.before_answer = None
    assert (await client.get(LABELS, headers={"if-none-match": answer.headers["etag"]})).status_code == 200


async def test_rule_10_the_apps_no_store_stays(client: httpx.AsyncClient, desk: Desk) -> None:
    """An answer that the app forbids to store gets nothing of ours."""
    desk.headers.append((b"Cache-Control", b"No-Store"))
    answer = await client.get(LABELS)
    assert answer.headers["cache-control"] == "No-Store"
    for name in ("etag", "cache-keys", "vary"):
        assert name not in answer.headers


async def test_rule_10_the_apps_own_tag_stays_and_is_the_one_compared(client: httpx.AsyncClient, desk: Desk) -> None:
    """The app's ETag replaces ours: it is compared after the handler, weakly, and a match sends no body."""
    desk.headers += [(b"ETag", b'"own"'), (b"content-length", b"4"), (b"set-cookie", b"a=b")]
    fresh = await client.get(LABELS)
    assert fresh.headers.get_list("etag") == ['"own"']
    unmodified = await client.get(LABELS, headers={"if-none-match": 'W/"own"'})
    assert (unmodified.status_code, unmodified.content) == (304, b"")
    assert (unmodified.headers["etag"], unmodified.headers["set-cookie"]) == ('"own"', "a=b")
    assert "content-length" not in unmodified.headers
    assert unmodified.headers["cache-control"] == fresh.headers["cache-control"] == "private, no-cache"
    assert (await client.get(LABELS, headers={"if-none-match": '"else"'})).content == b"rows"
    desk.headers[1] = (b"etag", b'"own"')
    for desk.status in (206, 404):
        assert (await client.get(LABELS, headers={"if-none-match": '"own"'})).status_code == desk.status


async def test_the_apps_own_cache_keys_give_way(client: httpx.AsyncClient, desk: Desk) -> None:
    """On a declared route the tokens named are those the tag was made from, whatever the app says."""
    desk.headers.append((b"Cache-Keys", b'label="0"'))
    fields = (await client.get(LABELS)).headers.get_list("cache-keys")
    assert [len(field) for field in fields] == [len('label=""') + 20]


async def test_rule_11_answers_are_private_unless_the_app_opts_out(desk: Desk, revalidator: Revalidator) -> None:
    """Our Cache-Control says private; `public` is said only where a policy does."""
    routes: dict[str, list[str] | CachePolicy] = {
        PATTERN: ["label"],
        "/public/{account_id:int}": CachePolicy(["team"], cache_control=CacheControl(max_age=60, public=True), vary=()),
    }
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes=routes)
    async with client_of(app) as client:
        assert (await client.get(LABELS)).headers["cache-control"] == "private, no-cache"
        public = await client.get("/public/1")
        assert public.headers["cache-control"] == "max-age=60, public"
        assert "vary" not in public.headers


async def test_rule_13_vary_is_merged(client: httpx.AsyncClient, desk: Desk) -> None:
    """The app's Vary lines are kept, in one field, and what tells two viewers apart is added."""
    desk.headers += [(b"vary", b"Accept"), (b"Vary", b"cookie")]
    assert (await client.get(LABELS)).headers.get_list("vary") == ["Accept, cookie, Authorization"]


@pytest.mark.parametrize("status", [301, 401, 404, 422, 500])
async def test_rule_14_errors_get_no_tag(client: httpx.AsyncClient, desk: Desk, status: int) -> None:
    """What is not a 2xx leaves as the app has sent it."""
    desk.status = status
    answer = await client.get(LABELS)
    assert answer.status_code == status
    assert dict(answer.headers) == {"content-type": "text/plain"}


async def test_rule_14_our_own_errors_are_not_stored(client: httpx.AsyncClient) -> None:
    """The keys endpoint's errors are problem details that no cache keeps, and have no tag."""
    errors = [
        await client.post(KEYS),
        await client.get(KEYS, headers={"x-agent": "bob@2"}),
        await client.get("/api/v1/accounts/" + "9" * 300 + "/cache_keys"),
    ]
    assert [error.status_code for error in errors] == [405, 403, 404]
    for error in errors:
        assert error.headers["content-type"] == "application/problem+json"
        assert error.headers["cache-control"] == "no-store"
        assert "etag" not in error.headers
        assert json.loads(error.content)["status"] == error.status_code
    assert errors[0].headers["allow"] == "GET, HEAD"


async def test_rule_19_no_date_beside_our_tag(client: httpx.AsyncClient, desk: Desk) -> None:
    """The app's Last-Modified goes where our tag comes, and stays beside a tag of the app's own."""
    date = (b"Last-Modified", b"Fri, 01 Jan 2021 00:00:00 GMT")
    desk.headers.append(date)
    assert "last-modified" not in (await client.get(LABELS)).headers
    desk.headers.append((b"etag", b'"own"'))
    assert "last-modified" in (await client.get(LABELS)).headers


async def test_rule_21_no_message_is_shared_between_requests(revalidator: Revalidator) -> None:
    """With a session middleware around ours, no user's Set-Cookie ends up on another user's 304 or 200."""

    async def labels(request: Request) -> Response:
        return PlainTextResponse("rows")

    class SignIn:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["session"]["user"] = dict(scope["headers"])[b"x-agent"].decode()
            await self.app(scope, receive, send)

    app = Starlette(
        routes=[Route(PATTERN, labels)],
        middleware=[
            Middleware(SessionMiddleware, secret_key="s"),
            Middleware(SignIn),
            Middleware(
                CacheRevalidateMiddleware,
                revalidator=revalidator,
                authorize=allow_everyone,
                routes={PATTERN: ["label"]},
            ),
        ],
    )
    async with client_of(app) as client:
        etag = await etag_of(client)
        cookies = set()
        for number in range(20):
            headers = {"x-agent": f"user{number}@1", "if-none-match": etag}
            client.cookies.clear()
            answer = await client.get(LABELS, headers=headers)
            assert answer.status_code == 304
            assert len(answer.headers.get_list("set-cookie")) == 1
            cookies.add(answer.headers["set-cookie"])
            keys = await client.get(KEYS, headers={"x-agent": f"user{number}@1"})
            assert len(keys.headers.get_list("set-cookie")) <= 1
        assert len(cookies) == 20


async def test_rule_22_spellings_of_a_tenant_share_its_tokens(
    client: httpx.AsyncClient, revalidator: Revalidator
) -> None:
    """`/accounts/01/labels` bears account 1's token, so a bump of account 1 changes its tag."""
    path = "/api/v1/accounts/01/labels"
    first = await client.get(path)
    assert first.headers["cache-keys"] == (await client.get(LABELS)).headers["cache-keys"]
    await revalidator.bump(1, "label")
    assert (await client.get(path, headers={"if-none-match": first.headers["etag"]})).status_code == 200
