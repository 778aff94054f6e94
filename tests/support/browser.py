"""A real browser for tests: Debian's Chromium, driven by Playwright."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.support.servers import find_program

# The last five keep Chromium from calling its maker's servers; the tests need loopback alone.
_FLAGS = [
    "--no-sandbox",  # Chromium's sandbox does not start as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> Path:
    """Return the path of the system's Chromium."""
    return Path(find_program("chromium", "chromium"))


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """Give a headless Chromium with an empty profile; pages are opened with `await browser.new_page()`."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=chromium_path(), args=_FLAGS)
        try:
            yield chromium
        finally:
            await chromium.close()
