"""Which core runs what: the measured process has one to itself, and all that it works with shares another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_CORES = sorted(os.sched_getaffinity(0))

MEASURED = _CORES[0]
"""The core of the process that is measured."""
OTHERS = _CORES[-1]
"""The core of the load generator, of Redis and of PostgreSQL. The same one on a machine that has no more."""


def pinned(core: int) -> list[str]:
    """Return what to put before a command for it to run on one core."""
    return ["taskset", "--cpu-list", str(core)]


@contextmanager
def on(core: int) -> Iterator[None]:
    """Keep this process, and what is started within, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
