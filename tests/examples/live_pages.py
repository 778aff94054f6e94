"""Steps of several pages that show what another one did."""

from playwright.async_api import Browser, Page, expect

from tests.examples.desks import LISTS, Desk, new_name
from tests.examples.screenshot import VIEWPORT, edit_first_label, logged, sign_in


async def open_live(browser: Browser, desk: Desk, token: str = "demo-agent-1") -> Page:
    """Open the page in a browser of its own, signed in, and wait until it is live."""
    context = await browser.new_context(viewport=VIEWPORT)
    page = await context.new_page()
    await page.goto(desk.base_url)
    await sign_in(page, token)
    await logged(page, 4)
    await expect(page.get_by_test_id("live")).to_have_text("Live")
    return page


async def expect_first_label(page: Page, title: str, seconds: float) -> None:
    """Wait until the first label has a title."""
    first = page.get_by_test_id("rows-label").get_by_label("Title").first
    await expect(first).to_have_value(title, timeout=1_000 * seconds)


async def expect_requests(page: Page, count: int) -> None:
    """Check how many requests the page has made."""
    await expect(page.get_by_test_id("requests").get_by_role("row")).to_have_count(count)


async def edited(page: Page) -> str:
    """Edit the first label, and return its new title once the server has answered."""
    title = new_name()
    async with page.expect_response(lambda response: response.request.method == "PATCH") as answer:
        await edit_first_label(page, title)
    assert (await answer.value).ok
    return title


def edit_by_another(desk: Desk, title: str) -> None:
    """Give the first label another title, past all pages."""
    with desk.client("demo-agent-1") as agent:
        label = agent.get(LISTS["label"]).json()["payload"][0]
        assert agent.patch(f"{LISTS['label']}/{label['id']}", json={"title": title}).status_code == 200
