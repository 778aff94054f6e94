"""Waits for what a test is about to assert: polls, with a deadline."""

import asyncio
import time
from collections.abc import Callable

POLL_SECONDS = 0.01


async def until(condition: Callable[[], object], what: str, within: float = 10.0) -> float:
    """Poll until the condition holds; return how many seconds that took. Raises AssertionError when it never does."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() > started + within:
            raise AssertionError(f"not within {within:g} seconds: {what}")
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - started
