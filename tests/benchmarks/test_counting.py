"""The instrument that counts what Python does, on functions that are known to differ."""

import sys

import pytest
from benchmarks.counting import count

from tests.support.untraced import printed_untraced


def test_a_coroutine_and_a_copy_of_the_headers_are_counted() -> None:
    """One more coroutine, and one more `dict(headers)`, each make the count larger, by the same each time."""
    printed = printed_untraced("tests.benchmarks.known_costs")
    counts = {name: list(map(int, numbers)) for name, *numbers in map(str.split, printed.splitlines())}
    (bare, *once), (awaiting, *twice), (copying, *copied) = counts.values()
    assert awaiting > bare < copying
    assert [after - before for before, after in zip(once, twice, strict=True)] == [1, 1]
    assert copied == once


def test_it_does_not_count_while_something_else_traces() -> None:
    """Beside another tracer, which it would end, it refuses to count."""
    tracer = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        with pytest.raises(RuntimeError, match="process of its own"):
            count(lambda: None)
    finally:
        sys.settrace(tracer)
