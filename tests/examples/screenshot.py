"""Takes the README's picture: `python -m tests.examples.screenshot`. Tests drive the page by the same steps."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Page, ViewportSize, async_playwright, expect

from tests.support.browser import chromium_path
from tests.support.servers import AppServer

PICTURE = Path(__file__).parents[2] / "docs" / "_static" / "demo.png"
VIEWPORT = ViewportSize(width=1280, height=860)


async def sign_in(page: Page, token: str) -> None:
    """Sign in as the user of a token."""
    await page.locator(f"button[data-token={token}]").click()


async def logged(page: Page, count: int) -> dict[str, tuple[str, str, str]]:
    """Wait until `count` requests are logged; return status and reach by path, of those since the last keys."""
    rows = page.get_by_test_id("requests").get_by_role("row")
    await expect(rows).to_have_count(count)
    requests: dict[str, tuple[str, str, str]] = {}
    for row in await rows.all():
        _, path, status, _, _, handler, database = await row.get_by_role("cell").all_inner_texts()
        requests[path] = (status, handler, database)
        if path.endswith("/cache_keys"):
            break
    return requests


async def edit_first_label(page: Page, title: str) -> None:
    """Give the first label another title."""
    row = page.get_by_test_id("rows-label").get_by_role("listitem").first
    await row.get_by_label("Title").fill(title)
    await row.get_by_role("button", name="Save").click()


async def take(base_url: str) -> None:
    """Sign in, reload, edit a label, and take the picture of what the page says."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        page = await browser.new_page(viewport=VIEWPORT, color_scheme="light", reduced_motion="reduce")
        await page.goto(base_url)
        await sign_in(page, "demo-agent-1")
        await logged(page, 4)
        await expect(page.get_by_test_id("live")).to_have_text("Live")
        await page.get_by_role("button", name="Reload all").click()
        await logged(page, 8)
        await edit_first_label(page, "very urgent")
        await logged(page, 13)
        await page.get_by_role("heading", name="Requests").click()
        await page.screenshot(path=PICTURE)
        await browser.close()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        database_url = f"sqlite+aiosqlite:///{folder}/desk.sqlite3"
        with AppServer("examples.starlette_app.app:app", env={"DATABASE_URL": database_url, "REDIS_URL": ""}) as server:
            asyncio.run(take(server.base_url))
