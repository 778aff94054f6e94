"""The keys endpoint, as the middleware serves it."""

import asyncio
import json
import logging
from collections.abc import Sequence

import httpx
import pytest

from cache_revalidate import (
    CacheControl,
    CacheRevalidateMiddleware,
    Connection,
    Keyspace,
    MemoryStore,
    NullStore,
    Refused,
    Revalidator,
    StoreError,
    Viewer,
    allow_everyone,
)
from cache_revalidate.types import ASGIApp, Message, Tokens
from tests.middleware.conftest import KEYS, Desk, agent, client_of


class AbsentStore(MemoryStore):
    """A store that does not answer reads."""

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Raise."""
        raise StoreError("away")

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Hold nothing."""
        return None


async def test_it_shows_the_tokens_by_model_and_the_tag(
    client: httpx.AsyncClient, revalidator: Revalidator, desk: Desk
) -> None:
    """The body is the cache keys and the tag, in order, with Chatwoot's headers; the app is not asked."""
    answer = await client.get(KEYS)
    assert answer.status_code == 200
    assert answer.json() == {"cache_keys": await revalidator.tokens(1), "tag": revalidator.tag("ann")}
    assert list(answer.json()["cache_keys"]) == ["inbox", "label", "team"]
    assert answer.headers["cache-control"] == "max-age=10, private, stale-while-revalidate=300"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Authorization, Cookie"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert desk.reached == 0


async def test_it_has_a_validator_of_its_own(client: httpx.AsyncClient, revalidator: Revalidator) -> None:
    """Unchanged tokens are a 304 with the 200's headers; a bump of any model is a new 200."""
    fresh = await client.get(KEYS)
    condition = {"if-none-match": fresh.headers["etag"]}
    unmodified = await client.get(KEYS, headers=condition)
    assert (unmodified.status_code, unmodified.content) == (304, b"")
    for name in ("etag", "cache-control", "vary"):
        assert unmodified.headers[name] == fresh.headers[name]
    await revalidator.bump(1, "team")
    assert (await client.get(KEYS, headers=condition)).status_code == 200


async def test_an_unauthorised_caller_learns_nothing(client: httpx.AsyncClient) -> None:
    """A refusal is the same 403 for every tenant, also for a caller who shows the right tag."""
    etag = (await client.get(KEYS)).headers["etag"]
    refused = [
        await client.get(KEYS, headers={"x-agent": "", "if-none-match": etag}),
        await client.head(KEYS, headers={"x-agent": "bob@2", "if-none-match": etag}),
        await client.get(KEYS.replace("/1/", "/404/")),
    ]
    assert {answer.status_code for answer in refused} == {403}
    assert refused[0].content == refused[2].content


async def test_a_challenge_makes_a_401(desk: Desk, revalidator: Revalidator) -> None:
    """`Refused` with a challenge asks the caller to sign in."""

    def signed_out(connection: Connection, tenant: str) -> Viewer | None:
        raise Refused('Bearer realm="desk"')

    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=signed_out)
    async with client_of(app) as client:
        answer = await client.get(KEYS)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="desk"')


async def test_an_exception_in_authorize_is_a_refusal(
    desk: Desk, revalidator: Revalidator, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in `authorize` lets nobody in, and is logged."""

    async def broken(connection: Connection, tenant: str) -> Viewer | None:
        raise RuntimeError("a bug")

    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=broken)
    async with client_of(app) as client:
        assert (await client.get(KEYS)).status_code == 403
    assert "a bug" in caplog.text


async def test_two_viewers_have_two_tags(client: httpx.AsyncClient, app: ASGIApp, revalidator: Revalidator) -> None:
    """One viewer's tag is no validator for another, though the tokens are the same."""
    ann = await client.get(KEYS)
    async with client_of(app, "bob@1") as other:
        bob = await other.get(KEYS, headers={"if-none-match": ann.headers["etag"]})
    assert bob.status_code == 200
    assert bob.json()["cache_keys"] == ann.json()["cache_keys"]
    assert bob.json()["tag"] != ann.json()["tag"]


async def test_salt_and_epoch_change_every_tag(desk: Desk) -> None:
    """A new build or a new epoch makes every client's validator stale."""
    tags = {
        Revalidator(["label"], salt=salt, epoch=epoch).tag(viewer)
        for salt, epoch in (("", ""), ("2", ""), ("", "2"), ("2", "2"))
        for viewer in ("", "ann", "=ann")
    }
    assert len(tags) == 12


async def test_a_store_that_is_away_is_a_503(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Without a store there are no tokens to show: the client is told to come back, and to trust nothing meanwhile."""
    revalidator = Revalidator(["label"], AbsentStore())
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=allow_everyone)
    async with client_of(app) as client:
        answer = await client.get(KEYS, headers={"if-none-match": "*"})
    assert answer.status_code == 503
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] == "1"
    assert "stale" in json.loads(answer.content)["detail"]
    assert revalidator.stats.failed_reads == 1


async def test_nothing_is_ever_fresh_with_the_null_store(desk: Desk) -> None:
    """With the null store no tag is ever answered 304."""
    app = CacheRevalidateMiddleware(desk, revalidator=Revalidator(["label"], NullStore()), authorize=allow_everyone)
    async with client_of(app) as client:
        etag = (await client.get(KEYS)).headers["etag"]
        assert (await client.get(KEYS, headers={"if-none-match": etag})).status_code == 200


async def test_path_headers_and_parameter_can_be_chosen(desk: Desk, revalidator: Revalidator) -> None:
    """The endpoint's path, its tenant's name and its headers are the app's to choose."""
    app = CacheRevalidateMiddleware(
        desk,
        revalidator=revalidator,
        authorize=allow_everyone,
        keys_path="/w/{workspace:int}/keys",
        tenant_parameter="workspace",
        keys_cache_control=CacheControl(max_age=1),
        vary=["X-Agent"],
    )
    async with client_of(app) as client:
        answer = await client.get("/w/7/keys")
        assert answer.headers["cache-control"] == "max-age=1, private"
        assert answer.headers["vary"] == "X-Agent"
        await client.get(KEYS)
    assert desk.reached == 1


async def test_vary_may_be_nothing(desk: Desk, revalidator: Revalidator) -> None:
    """An app whose viewers all see the same may vary on nothing."""
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=allow_everyone, vary=())
    async with client_of(app) as client:
        assert "vary" not in (await client.get(KEYS)).headers


async def test_a_tenant_of_the_apps_own_kind(desk: Desk) -> None:
    """With a canonical function, an untyped path parameter is a tenant, and what the function refuses is a 404."""

    def workspace(value: object) -> str:
        if value == "nobody":
            raise KeyError(value)
        return str(value).lower()

    revalidator = Revalidator(["label"], canonical=workspace)
    app = CacheRevalidateMiddleware(
        desk, revalidator=revalidator, authorize=agent, keys_path="/w/{slug}/keys", tenant_parameter="slug"
    )
    async with client_of(app, "ann@acme") as client:
        upper = await client.get("/w/ACME/keys")
        assert upper.json()["cache_keys"] == await revalidator.tokens("Acme")
        for wrong in ("a%00b", "%C3%A9", "x" * 300, "a%2520b", "%20", "%7B1%7D"):
            answer = await client.get(f"/w/{wrong}/keys")
            assert answer.status_code == 404, wrong
            assert "can't be a tenant" in answer.json()["detail"]
        assert (await client.get("/w//keys")).text == "rows"
        assert (await client.get("/w/a%2Fb/keys")).text == "rows"


async def test_many_readers_at_once_see_one_token(client: httpx.AsyncClient) -> None:
    """Parallel first requests of a tenant agree on the tokens that are minted for it."""
    answers = await asyncio.gather(*(client.get(KEYS) for _ in range(50)))
    assert len({answer.text for answer in answers}) == 1


async def test_a_refusal_is_not_logged(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody who may not see a tenant is no event for the log."""
    with caplog.at_level(logging.DEBUG, "cache_revalidate"):
        await client.get(KEYS, headers={"x-agent": "bob@2"})
    assert not caplog.records


@pytest.mark.parametrize("path", [KEYS, KEYS.replace("/1/", f"/{'9' * 300}/")])
async def test_head_has_the_length_and_no_body(app: ASGIApp, path: str) -> None:
    """What is sent to a HEAD has the headers of the GET, and not one byte of the body."""

    async def answer_to(method: str) -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        headers = [(b"x-agent", b"ann@1")]
        await app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
        return sent

    (start, body), (start_of_head, body_of_head) = await answer_to("GET"), await answer_to("HEAD")
    assert start_of_head == start
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert body_of_head["body"] == b""
