"""What the tests of the searches share.

`MODEL_SIZE=large make test` searches the large settings too, which takes minutes.
"""

import os
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from .cases import Case
from .search import Found
from .switches import Protocol, Setting

LARGE: Final = os.environ.get("MODEL_SIZE") == "large"

MOST: Final = 10_000_000 if LARGE else 300_000
"""Whoever needs more states has made a setting that is too large for every day."""


Search = Callable[[Protocol, Setting], Found]


def sized(cases: Iterable[Case]) -> list[object]:
    """Return the parameters of a test for the cases that are to be searched."""
    no_limit = pytest.mark.timeout(0)
    return [
        pytest.param(case, id=case.name, marks=no_limit if case.large else ())
        for case in cases
        if LARGE or not case.large
    ]


def told(case: Case, found: Found) -> str:
    """Say what a search has found, and how to look closer."""
    return (
        f"{case.name}: {found}\n\n"
        f'Alone, with its counterexample: python -m tests.model --trace "{case.name}"\n'
        "In larger settings: MODEL_SIZE=large make test"
    )
