"""The page at `/` in several real browsers: each shows at once what another one did."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.examples.desks import LISTS, ONE_EACH, Desk, Setup, new_name, running
from tests.examples.live_pages import edit_by_another, edited, expect_first_label, expect_requests, open_live
from tests.examples.screenshot import VIEWPORT, logged, sign_in
from tests.support.servers import PostgresServer, RedisServer

AT_LAST = 20_000
"""Milliseconds for which a page that has lost its server is waited for."""


async def test_an_edit_is_seen_in_another_browser(browser: Browser, desk: Desk) -> None:
    """What one does another sees within a second, for one request; what he does himself is not fetched twice."""
    ada, cleo = await open_live(browser, desk), await open_live(browser, desk, "demo-admin")
    title = await edited(ada)
    await expect_first_label(cleo, title, desk.setup.told_within)
    await expect(cleo.locator(".model.changed h2")).to_have_text("Labels")
    await expect_requests(cleo, 5)
    await logged(ada, 9)

    title = await edited(cleo)
    await expect_first_label(ada, title, desk.setup.told_within)
    await expect_requests(ada, 10)
    await expect_requests(cleo, 10)
    assert await ada.get_by_test_id("token-label").inner_text() == await cleo.get_by_test_id("token-label").inner_text()


@pytest.mark.parametrize("desk", ONE_EACH, ids=str, indirect=True)
async def test_an_edit_before_the_stream_began(browser: Browser, desk: Desk) -> None:
    """What is committed after the page's first fetch and before its stream is there is seen when the stream begins."""
    context = await browser.new_context()
    page = await context.new_page()
    title = new_name()

    async def edit_first(route: Route) -> None:
        await logged(page, 4)
        edit_by_another(desk, title)
        await route.continue_()

    await page.route("**/ticket", edit_first)
    await page.goto(desk.base_url)
    await sign_in(page, "demo-agent-1")
    await expect_first_label(page, title, 5)
    await expect_requests(page, 5)


@pytest.mark.parametrize("desk", ONE_EACH, ids=str, indirect=True)
async def test_what_is_being_typed_stays(browser: Browser, desk: Desk) -> None:
    """An update that comes by itself leaves whoever is typing his words, his place among them, and his button."""
    ada, cleo = await open_live(browser, desk), await open_live(browser, desk, "demo-admin")
    typing = cleo.get_by_test_id("rows-label").get_by_role("listitem").nth(1)
    await typing.get_by_label("Title").fill("half a wo")
    await typing.get_by_label("Title").press("ArrowLeft")
    title = await edited(ada)
    await expect_first_label(cleo, title, desk.setup.told_within)
    await cleo.keyboard.type("i")
    await expect(typing.get_by_label("Title")).to_have_value("half a wio")
    await expect(typing.get_by_role("button", name="Save")).to_be_visible()


@pytest.mark.parametrize("desk", ONE_EACH, ids=str, indirect=True)
async def test_without_a_stream_it_is_checked(browser: Browser, desk: Desk) -> None:
    """While streams break the page checks every five seconds, and says so; when they no longer do, it is live."""
    context = await browser.new_context(viewport=VIEWPORT)
    page = await context.new_page()
    await page.clock.install()
    await page.route("**/events?*", lambda route: route.abort())
    await page.goto(desk.base_url)
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    live = page.get_by_test_id("live")
    for _ in range(20):
        if await live.get_attribute("data-state") == "polling":
            break
        await page.clock.run_for(1_000)
    await expect(live).to_have_text("Not live: checks every 5 s")
    edit_by_another(desk, title := new_name())
    await page.clock.run_for(5_000)
    await expect_first_label(page, title, 5)
    await page.unroute("**/events?*")
    for _ in range(60):
        if await live.get_attribute("data-state") == "live":
            break
        await page.clock.run_for(1_000)
    await expect(live).to_have_text("Live")


@pytest.fixture(params=ONE_EACH, ids=str)
def own_desk(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer, redis_server: RedisServer
) -> Iterator[Desk]:
    """Give each app in a process that this test may stop, and that says how many connections it has."""
    setup: Setup = request.param
    with running(setup, tmp_path, postgres_server, redis_server, app=f"tests.examples.counted:{setup.app}") as desk:
        yield desk


async def test_a_restarted_server(browser: Browser, own_desk: Desk) -> None:
    """A page whose server was restarted comes again by itself, and then shows what happened meanwhile."""
    page = await open_live(browser, own_desk)
    own_desk.server.stop()
    await expect(page.get_by_test_id("live")).not_to_have_text("Live")
    own_desk.server.start()
    edit_by_another(own_desk, title := new_name())
    await expect(page.get_by_test_id("live")).to_have_text("Live", timeout=AT_LAST)
    await expect_first_label(page, title, 5)
    await expect(page.get_by_role("alert")).to_be_hidden()


@pytest.fixture
async def counts(own_desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that asks how many connections there are."""
    async with httpx.AsyncClient(base_url=own_desk.base_url) as client:
        yield client


async def connections(counts: httpx.AsyncClient) -> dict[str, int]:
    """Return how many connections are open, and how many ever were."""
    found: dict[str, int] = (await counts.get("/connections")).json()
    return found


async def test_whoever_signs_out_is_told_no_more(browser: Browser, own_desk: Desk, counts: httpx.AsyncClient) -> None:
    """Another account's stream takes the place of the last one's; after the sign-out there is none, and no rows."""
    page = await open_live(browser, own_desk, "demo-admin")
    assert await connections(counts) == {"open": 1, "opened": 1}

    await page.get_by_label("Account").select_option("2")
    await logged(page, 4)
    await expect(page.get_by_test_id("live")).to_have_text("Live")
    with own_desk.client("demo-admin") as admin:
        one, two = new_name(), new_name()
        admin.post(LISTS["team"], json={"name": one})
        admin.post(LISTS["team"].replace("/1/", "/2/"), json={"name": two})
    await expect(page.get_by_test_id("rows-team").get_by_label("Name").last).to_have_value(two)
    await expect_requests(page, 5)
    await until_connections(page, counts, {"open": 1, "opened": 2})

    await page.get_by_role("button", name="Sign out").click()
    await until_connections(page, counts, {"open": 0, "opened": 2})
    await expect(page.get_by_test_id("live")).to_be_hidden()
    await expect(page.locator("ul > li")).to_have_count(0)
    await sign_in(page, "demo-agent-1")
    await expect(page.get_by_test_id("rows-team").get_by_label("Name").last).to_have_value(one)


async def test_a_renewed_stream(browser: Browser, own_desk: Desk, counts: httpx.AsyncClient) -> None:
    """A stream that ends only because its ticket is old is replaced, and the page says that it is live throughout."""
    context = await browser.new_context()
    await context.add_init_script(
        "EventSource = class extends EventSource { constructor(url) { super(url); globalThis.stream = this; } }"
    )
    page = await context.new_page()
    await page.goto(own_desk.base_url)
    await sign_in(page, "demo-agent-1")
    await expect(page.get_by_test_id("live")).to_have_text("Live")
    await page.evaluate("new MutationObserver(() => (globalThis.hasBlinked = true)).observe(live, { childList: true })")
    await page.evaluate("""stream.dispatchEvent(new MessageEvent("closed", { data: '{"code": 4410}' }))""")
    await until_connections(page, counts, {"open": 1, "opened": 2})
    title = await edited(page)
    await expect_first_label(page, title, 1)
    assert await page.evaluate("globalThis.hasBlinked") is None


async def until_connections(page: Page, counts: httpx.AsyncClient, wanted: dict[str, int]) -> None:
    """Wait until there are so many connections."""
    for _ in range(100):
        if (found := await connections(counts)) == wanted:
            return
        await page.wait_for_timeout(50)
    raise AssertionError(f"{found}, not {wanted}")
