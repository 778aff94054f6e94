"""What selects an answer beside its path and its viewer: negotiation, and preconditions that come first."""

import logging

import httpx
import pytest

from cache_revalidate import CachePolicy, CacheRevalidateMiddleware, Revalidator
from tests.middleware.conftest import KEYS, LABELS, PATTERN, Desk, agent, client_of


@pytest.mark.parametrize("name", ["accept", "accept-language"])
async def test_a_tag_is_good_for_what_was_negotiated_alone(client: httpx.AsyncClient, name: str) -> None:
    """Who asks for another form with the tag of the one he holds, as browsers do, gets that form and no 304."""
    html = (await client.get(LABELS, headers={name: "one"})).headers["etag"]
    assert (await client.get(LABELS, headers={name: "one", "if-none-match": html})).status_code == 304
    assert (await client.get(LABELS, headers={name: "other", "if-none-match": html})).status_code == 200


async def test_a_declared_header_selects_too(desk: Desk, revalidator: Revalidator) -> None:
    """A header that is named in `vary` is part of the validator, but for those the viewer stands for."""
    policy = CachePolicy(["label"], vary=["Authorization", "HX-Request"])
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: policy})
    async with client_of(app) as client:
        whole = (await client.get(LABELS, headers={"authorization": "Bearer 1"})).headers["etag"]
        renewed = {"authorization": "Bearer 2", "if-none-match": whole}
        assert (await client.get(LABELS, headers=renewed)).status_code == 304
        assert (await client.get(LABELS, headers={"hx-request": "true", "if-none-match": whole})).status_code == 200


@pytest.mark.parametrize("vary", [b"X-Theme", b"*"])
async def test_an_undeclared_choice_gets_no_tag(
    client: httpx.AsyncClient, desk: Desk, caplog: pytest.LogCaptureFixture, vary: bytes
) -> None:
    """An answer that varies on what no validator covers has no tag of ours; the log says once how to get one."""
    desk.headers += [(b"vary", vary), (b"last-modified", b"Fri, 01 Jan 2021 00:00:00 GMT")]
    with caplog.at_level(logging.WARNING):
        answers = [await client.get(LABELS) for _ in range(3)]
    for answer in answers:
        assert "etag" not in answer.headers
        assert "last-modified" in answer.headers
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["cache-keys"].startswith("label=")
    assert ["vary=" in record.message for record in caplog.records] == ([] if vary == b"*" else [True])


async def test_a_question_mark_in_a_path_is_no_query(desk: Desk, revalidator: Revalidator) -> None:
    """The tag of `/x?y` makes no 304 of `/x%3Fy`, which is another resource."""
    routes = {PATTERN + "/{name}": ["label"]}
    app = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes=routes)
    async with client_of(app) as client:
        etag = (await client.get(f"{LABELS}/x?y?")).headers["etag"]
        desk.status = 404
        for path in ("x%3Fy", "x%3Fy%3F", "x%3Fy?"):
            assert (await client.get(f"{LABELS}/{path}", headers={"if-none-match": etag})).status_code == 404


@pytest.mark.parametrize("first", [{"if-match": '"other"'}, {"if-unmodified-since": "Fri, 01 Jan 2021 00:00:00 GMT"}])
async def test_preconditions_that_come_first_are_the_apps(
    client: httpx.AsyncClient, desk: Desk, first: dict[str, str]
) -> None:
    """Beside If-Match or If-Unmodified-Since, which may make it a 412, a matching If-None-Match makes no 304."""
    etag = (await client.get(LABELS)).headers["etag"]
    desk.status = 412
    assert (await client.get(LABELS, headers={"if-none-match": etag, **first})).status_code == 412
    keys = (await client.get(KEYS)).headers["etag"]
    assert (await client.get(KEYS, headers={"if-none-match": keys, **first})).status_code == 200


async def test_the_apps_own_304_has_the_headers_of_its_200(client: httpx.AsyncClient, desk: Desk) -> None:
    """An app that compares its own tag itself has its 304 marked as its 200 is; without a tag it stays as it is."""
    desk.headers.append((b"ETag", b'"own"'))
    fresh = await client.get(LABELS)
    desk.status = 304
    unmodified = await client.get(LABELS, headers={"if-none-match": '"own"'})
    assert unmodified.status_code == 304
    for name in ("etag", "cache-control", "vary", "cache-keys"):
        assert unmodified.headers[name] == fresh.headers[name]
    desk.headers.pop()
    assert dict((await client.get(LABELS)).headers) == {"content-type": "text/plain"}
