"""What a desk does while its Redis is gone, and when it is back."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.examples.desks import KEYS, LISTS, Desk, Setup, changed, new_name, reached, running
from tests.examples.screenshot import edit_first_label, logged, sign_in
from tests.support.servers import PostgresServer, RedisServer

SECONDS = 20.0


@pytest.fixture(
    params=[Setup("starlette", "uvicorn", "sqlite", "redis"), Setup("litestar", "granian", "postgresql", "redis")],
    ids=str,
)
def desk(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer, redis_server_own: RedisServer
) -> Iterator[Desk]:
    """Give each app with a Redis of its own."""
    with running(request.param, tmp_path, postgres_server, redis_server_own) as desk:
        yield desk


def until_fresh(client: httpx.Client, path: str) -> httpx.Response:
    """Ask until a whole answer and a 304 have followed each other; return the whole answer."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        whole = client.get(path)
        assert whole.status_code == 200
        if "ETag" in whole.headers:
            again = client.get(path, headers={"If-None-Match": whole.headers["ETag"]})
            if again.status_code == 304:
                return whole
    raise AssertionError(f"{path} was never answered 304")


def healed_tokens(client: httpx.Client) -> dict[str, str]:
    """Return the tokens, asking again where a worker has not found out yet that its Redis is back."""
    deadline = time.monotonic() + SECONDS
    while (response := client.get(KEYS)).status_code == 503:
        assert time.monotonic() < deadline, response.text
    tokens: dict[str, str] = response.json()["cache_keys"]
    return tokens


def test_desk_outlives_redis(agent: httpx.Client, redis_server_own: RedisServer) -> None:
    """Without Redis reads are 200 from the database and writes commit; when it is back, nothing is stale."""
    before = {path: until_fresh(agent, path) for path in LISTS.values()}
    redis_server_own.kill()

    title = new_name()
    added = agent.post(LISTS["label"], json={"title": title})
    assert added.status_code == 201
    for path, response in before.items():
        for headers in ({}, {"If-None-Match": response.headers["ETag"]}):
            answer = agent.get(path, headers=headers)
            assert (answer.status_code, reached(answer)) == (200, {"handler", "db"})
            assert "ETag" not in answer.headers
            assert answer.headers["Cache-Control"] == "no-store"
    assert title in agent.get(LISTS["label"]).text
    assert agent.get(KEYS).status_code == 503

    redis_server_own.start()
    labels = until_fresh(agent, LISTS["label"])
    assert title in labels.text
    assert labels.headers["ETag"] != before[LISTS["label"]].headers["ETag"]
    tokens = healed_tokens(agent)
    assert agent.delete(f"{LISTS['label']}/{added.json()['id']}").status_code == 204
    assert changed(tokens, healed_tokens(agent)) == {"label"}


def test_edit_made_while_redis_was_frozen(agent: httpx.Client, redis_server_own: RedisServer) -> None:
    """A commit that Redis never heard of is heard of when Redis, with all its old tokens, answers again."""
    title = new_name()
    label = agent.post(LISTS["label"], json={"title": new_name()}).json()
    before = until_fresh(agent, LISTS["label"])
    redis_server_own.pause()
    try:
        edit = agent.patch(f"{LISTS['label']}/{label['id']}", json={"title": title})
    finally:
        redis_server_own.resume()
    assert edit.status_code == 200
    deadline = time.monotonic() + SECONDS
    validator = {"If-None-Match": before.headers["ETag"]}
    while (answer := agent.get(LISTS["label"], headers=validator)).status_code == 304:
        assert time.monotonic() < deadline, "the edit was never heard of"
    assert title in answer.text


async def test_page_shows_an_edit_made_without_redis(
    browser: Browser, desk: Desk, redis_server_own: RedisServer
) -> None:
    """Without Redis the page fetches every list anew, so a person's own edit is seen; with Redis back it is a 304."""
    page = await browser.new_page()
    await page.goto(desk.base_url)
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    redis_server_own.kill()
    title = new_name()
    await edit_first_label(page, title)
    requests = await logged(page, 9)
    assert requests[KEYS][0] == "503"
    assert {requests[path] for path in LISTS.values()} == {("200", "reached", "reached")}
    await expect(page.get_by_test_id("rows-label").get_by_label("Title").first).to_have_value(title)
    await expect(page.get_by_test_id("token-label")).to_contain_text("unknown")
    redis_server_own.start()
    for count in range(13, 13 + 4 * 20, 4):
        await page.get_by_role("button", name="Reload all").click()
        if (await logged(page, count))[LISTS["label"]][0] == "304":
            break
        await page.wait_for_timeout(200)
    else:
        pytest.fail("the labels were never answered 304 again")
