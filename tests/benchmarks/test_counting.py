"""The instrument that counts what Python does, on functions that are known to differ."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.counting import LIBRARY, count

REPOSITORY = Path(__file__).parents[2]


def test_a_coroutine_and_a_copy_of_the_headers_are_counted() -> None:
    """One more coroutine, and one more `dict(headers)`, each make the count larger, by the same each time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(Path(LIBRARY).parent)
    printed = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.known_costs"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
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
