"""Counts functions that differ by one thing each, and prints it: run by the test of the instrument."""

import sys

from benchmarks.counting import Count, count

HEADERS = [(b"accept", b"*/*")]


async def inner() -> None:
    """Do nothing."""


async def bare() -> object:
    """Return the headers."""
    return HEADERS


async def awaiting() -> object:
    """Do the same, and await something."""
    await inner()
    return HEADERS


async def copying() -> object:
    """Do the same, and copy them."""
    dict(HEADERS)
    return HEADERS


def counted(name: str) -> Count:
    """Count the coroutine of this name alone."""

    def run() -> None:
        coroutine = globals()[name]()
        try:
            coroutine.send(None)
        except StopIteration:
            return

    found = count(run, __file__)
    assert found == count(run, __file__)
    return found


for each in ("bare", "awaiting", "copying"):
    taken = counted(each)
    sys.stdout.write(f"{each} {taken.bytecodes} {taken.coroutines} {taken.functions.total()}\n")
