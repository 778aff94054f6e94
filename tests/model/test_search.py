"""The search itself, on systems small enough to know."""

from collections.abc import Iterator

import pytest

from .search import Label, SearchTooLargeError, System, search


def _coins(total: int) -> Iterator[tuple[Label, int]]:
    if total < 20:
        for coin in (1, 5, 2):
            yield ("payer", f"adds {coin}"), total + coin


def test_every_state_is_visited_once() -> None:
    """A system in which everything holds is searched whole, and its states and events are told."""
    found = search(System(0, _coins, lambda _: None, lambda total: ["twelve"] if total == 12 else []), most=100)
    assert (found.states, found.broken, found.trace) == (25, None, ())
    assert found.events == {"adds 1", "adds 2", "adds 5", "twelve"}
    assert str(found) == "holds in all 25 states"


def test_the_shortest_way_is_told() -> None:
    """What does not hold is shown by as few steps as lead there."""
    found = search(System(0, _coins, lambda total: "has twelve" if total == 12 else None), most=100)
    assert found.broken == "has twelve"
    assert sorted(event for _, event in found.trace) == ["adds 2", "adds 5", "adds 5"]
    assert str(found).splitlines()[0] == f"after {found.states} states: has twelve"
    assert str(found).splitlines()[1].startswith("  1. payer  adds ")


def test_a_broken_start_needs_no_steps() -> None:
    """The first state is asked too."""
    found = search(System(0, _coins, lambda _: "nothing holds"), most=100)
    assert (found.states, found.trace) == (1, ())


def test_too_many_states_leave_the_verdict_open() -> None:
    """A search that would go on for too long says so, and claims nothing."""
    with pytest.raises(SearchTooLargeError, match="More than 10 states"):
        search(System(0, _coins, lambda _: None), most=10)
