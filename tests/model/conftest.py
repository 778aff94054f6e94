"""How the tests search."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import pytest

from .cases import Case
from .search import Found
from .searches import MOST, Search
from .switches import Protocol, Setting
from .system import check


def cases_of(session: pytest.Session) -> Iterator[Case]:
    """Return the cases of the tests that search, in the order in which they run."""
    for item in session.items:
        if isinstance(item, pytest.Function) and "search" in item.fixturenames:
            case = item.callspec.params["case"]
            assert isinstance(case, Case)
            yield case


@pytest.fixture(scope="session")
def search(request: pytest.FixtureRequest) -> Iterator[Search]:
    """Search a protocol in a setting, once for all tests that ask for it.

    Processes of their own do it: there no coverage is measured, which makes the search three times as slow. They begin
    with all that the tests of this run will ask for, and are idle again when the last of those has its answer.
    """
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as searchers:

        @cache
        def begun(protocol: Protocol, setting: Setting) -> Future[Found]:
            return searchers.submit(check, protocol, setting, most=MOST)

        for case in cases_of(request.session):
            for protocol in {case.protocol, case.instead} if case.breaks else {case.protocol}:
                begun(protocol, case.setting)
        yield lambda protocol, setting: begun(protocol, setting).result()
        searchers.shutdown(cancel_futures=True)
