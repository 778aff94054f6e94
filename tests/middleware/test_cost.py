"""What a request costs, in what can be counted: a slower hot path fails here, on however busy a machine.

If one of these fails because the library does more for a request, and should: say why in the commit that raises the
bound. `make profile` shows where it went. The counts are taken in a process of their own, without coverage's tracer.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untraced import printed_untraced

Counts = Mapping[str, Mapping[str, Any]]

BYTECODES: Mapping[str, Mapping[tuple[int, int], int]] = {
    "unmatched": {(3, 11): 69, (3, 12): 63, (3, 13): 63},
    "new path": {(3, 11): 155, (3, 12): 141, (3, 13): 134},
    "not modified": {(3, 11): 584, (3, 12): 548, (3, 13): 513},
    "passed on and marked": {(3, 11): 1033, (3, 12): 947, (3, 13): 906},
    "keys not modified": {(3, 11): 555, (3, 12): 521, (3, 13): 486},
}
"""The most instructions of the interpreter for each kind of request, by version of Python."""

SLACK = 0.05
"""How far below its bound a count may be before the bound has to follow: else it would bind nothing some day."""

UNMATCHED = ["CacheRevalidateMiddleware.__call__", "RouteTable.match"]
NOT_MODIFIED = [
    *("CacheRevalidateMiddleware.__call__", "RouteTable.match", "Match.tenant", "Connection.__init__", "asked_viewer"),
    *("Declaration.decide_at_once", "Questions.of", "RequestFields.find", "Revalidator.held", "MemoryStore.held"),
    *("Declaration._freshness", "Memo.get", "Freshness.not_modified", "OwnHeaders.recall", "Answer.messages"),
]
FUNCTIONS = {"unmatched": UNMATCHED, "not modified": NOT_MODIFIED}
"""The functions that such a request calls, each once, in order."""

COROUTINES = {"unmatched": 1, "new path": 0, "not modified": 1, "passed on and marked": 4, "keys not modified": 1}
"""The coroutines among them; `send` and `authorize` are the server's and the app's."""


@pytest.fixture(scope="module")
def counts() -> Counts:
    """Count each kind of request, where nothing else traces."""
    found: Counts = json.loads(printed_untraced("benchmarks.hot_path"))
    return found


def of_kind(counts: Counts, kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the counts of one kind of request, by what else differed."""
    found = {name: count for name, count in counts.items() if name.startswith(f"{kind}: ")}
    assert len(found) > 1
    return found


@pytest.mark.parametrize("kind", BYTECODES)
def test_a_request_takes_no_more_instructions_than_it_did(counts: Counts, kind: str) -> None:
    """A request executes no more bytecodes than the bound for this Python, and not so few that the bound is idle."""
    bound = BYTECODES[kind].get(sys.version_info[:2])
    if bound is None:
        pytest.skip("no bound is known for this version of Python: run benchmarks.hot_path with it, and add one")
    for name, count in of_kind(counts, kind).items():
        taken = count["bytecodes"]
        assert taken <= bound, f"{name}: {taken} bytecodes, {taken - bound} more than allowed: {count['functions']}"
        assert taken >= bound * (1 - SLACK), f"{name} takes {taken} bytecodes only: lower its bound from {bound}"


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_request_calls_the_same_functions(counts: Counts, kind: str) -> None:
    """A request calls the functions named above and no others, in any version of Python."""
    for name, count in of_kind(counts, kind).items():
        assert count["functions"] == dict.fromkeys(FUNCTIONS[kind], 1), name


@pytest.mark.parametrize("kind", COROUTINES)
def test_a_request_takes_no_more_coroutines(counts: Counts, kind: str) -> None:
    """What can be answered at once takes one coroutine, the middleware's own."""
    for name, count in of_kind(counts, kind).items():
        assert count["coroutines"] == COROUTINES[kind], f"{name}: {count['functions']}"


@pytest.mark.parametrize("kind", BYTECODES)
def test_routes_and_tenants_cost_nothing(counts: Counts, kind: str) -> None:
    """Among 500 declared routes, and among 1,000 tenants, a request takes what it takes with one."""
    bytecodes = {name: count["bytecodes"] for name, count in of_kind(counts, kind).items()}
    assert len(set(bytecodes.values())) == 1, bytecodes
