"""How the tests search."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import pytest

from .search import Found
from .searches import MOST, Search
from .switches import Protocol, Setting
from .system import check


@pytest.fixture(scope="session")
def search() -> Iterator[Search]:
    """Search a protocol in a setting, once for all tests that ask for it.

    A process of its own does it: there no coverage is measured, which makes the search three times as slow.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as searcher:

        @cache
        def searched(protocol: Protocol, setting: Setting) -> Found:
            return searcher.submit(check, protocol, setting, most=MOST).result()

        yield searched
