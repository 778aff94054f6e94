"""Cancellation that nothing swallows."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Raise `CancelledError` at the end if the task was cancelled on the way and the code within went on regardless.

    `asyncio.wait_for`, in which redis-py sends to clusters and sentinels, does that before Python 3.12, when what it
    waits for ends in the same moment: whoever cancelled the task would wait for it for ever.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
