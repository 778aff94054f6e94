"""What a desk does while its Redis is gone, and when it is back: it goes on, more slowly."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.examples.desks import KEYS, LISTS, Desk, Setup, changed, new_name, reached, running, tokens_of
from tests.examples.live_pages import edited, expect_first_label, open_live
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


def test_desk_outlives_redis(agent: httpx.Client, redis_server_own: RedisServer) -> None:
    """Without Redis tokens are read in the database: writes commit, and what is fresh is still a 304."""
    before = {path: agent.get(path) for path in LISTS.values()}
    tokens = tokens_of(agent)
    redis_server_own.kill()

    title = new_name()
    added = agent.post(LISTS["label"], json={"title": title})
    assert added.status_code == 201
    without = tokens_of(agent)
    assert changed(tokens, without) == {"label"}
    assert added.headers["Cache-Keys"] == f'label="{without["label"]}"'
    for path, response in before.items():
        answer = agent.get(path, headers={"If-None-Match": response.headers["ETag"]})
        expected = (200, {"handler", "db"}) if path == LISTS["label"] else (304, {"db"})
        assert (answer.status_code, reached(answer)) == expected
    assert title in agent.get(LISTS["label"]).text

    redis_server_own.start()
    assert tokens_of(agent) == without
    assert agent.delete(f"{LISTS['label']}/{added.json()['id']}").status_code == 204
    assert changed(without, tokens_of(agent)) == {"label"}
    until_read_from_copies(agent)


def until_read_from_copies(client: httpx.Client) -> None:
    """Ask until a worker answers from Redis again, which it asks for once a second."""
    deadline = time.monotonic() + SECONDS
    while reached(client.get(KEYS)):
        assert time.monotonic() < deadline, "the copies were never read again"


def test_edit_made_while_redis_was_frozen(agent: httpx.Client, redis_server_own: RedisServer) -> None:
    """A commit that Redis never heard of is heard of when Redis, with all its old tokens, answers again."""
    title = new_name()
    label = agent.post(LISTS["label"], json={"title": new_name()}).json()
    before = agent.get(LISTS["label"])
    redis_server_own.pause()
    try:
        edit = agent.patch(f"{LISTS['label']}/{label['id']}", json={"title": title})
    finally:
        redis_server_own.resume()
    assert edit.status_code == 200
    # The worker that committed knows that Redis has not heard; another may believe Redis for as long as its copy lives.
    deadline = time.monotonic() + 60 + SECONDS
    validator = {"If-None-Match": before.headers["ETag"]}
    while (answer := agent.get(LISTS["label"], headers=validator)).status_code == 304:
        assert time.monotonic() < deadline, "the edit was never heard of"
        time.sleep(0.1)
    assert title in answer.text


async def test_page_shows_an_edit_made_without_redis(
    browser: Browser, desk: Desk, redis_server_own: RedisServer
) -> None:
    """Without Redis the page goes on as before: a person's own edit is seen, and no other list is fetched."""
    page = await browser.new_page()
    await page.goto(desk.base_url)
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    redis_server_own.kill()
    title = new_name()
    await edit_first_label(page, title)
    requests = await logged(page, 9)
    assert requests[KEYS][0] == "200"
    assert {model: requests[path][0] for model, path in LISTS.items()} == {
        "label": "200",
        "inbox": "304",
        "team": "304",
    }
    await expect(page.get_by_test_id("rows-label").get_by_label("Title").first).to_have_value(title)
    await page.get_by_role("button", name="Reload all").click()
    assert {status for status, *_ in (await logged(page, 13)).values()} == {"304"}


async def test_pages_go_on_telling_each_other(browser: Browser, desk: Desk, redis_server_own: RedisServer) -> None:
    """While Redis is gone, and when it is back, each page stays live and shows what the other did."""
    pages = [await open_live(browser, desk) for _ in range(2)]
    for change in (lambda: None, redis_server_own.kill, redis_server_own.start):
        change()
        for writer, reader in (pages, pages[::-1]):
            title = await edited(writer)
            await expect_first_label(reader, title, SECONDS)
            await expect(reader.get_by_test_id("live")).to_have_text("Live")
    await until_told_at_once(*pages)


async def until_told_at_once(writer: Page, reader: Page) -> None:
    """Edit until the other page shows it within a second, as it did before Redis was gone."""
    deadline = time.monotonic() + SECONDS
    while True:
        title = await edited(writer)
        try:
            await expect_first_label(reader, title, 1.0)
        except AssertionError:
            assert time.monotonic() < deadline, "the pages were never told at once again"
        else:
            return
