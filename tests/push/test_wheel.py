"""Many timers: `cache_revalidate.push.wheel`."""

from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate.push.wheel import SLOT, Wheel

times = st.floats(0, 1_000)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.none() | times)), st.lists(times, max_size=20))
def test_items_come_up_in_time(changes: list[tuple[str, float | None]], steps: list[float]) -> None:
    """An item comes up once, not before it was last set for, and at the latest at the first look one slot later."""
    wheel: Wheel[str] = Wheel()
    due: dict[str, float] = {}
    for item, time in changes:
        if time is None:
            wheel.discard(item)
            due.pop(item, None)
        else:
            wheel.set(item, time)
            due[item] = time
    for now in sorted(steps):
        found = wheel.due(now)
        assert len(found) == len(set(found))
        assert all(due.pop(item) <= now for item in found)
        assert all(time + SLOT > now for time in due.values())
    assert set(wheel.due(2_000)) == set(due)
    assert not wheel._slots
    assert not wheel._slot_of


def test_the_earliest_comes_first() -> None:
    """Items come up in the order of their times."""
    wheel: Wheel[str] = Wheel()
    wheel.set("late", 3.2)
    wheel.set("early", 1.2)
    assert wheel.due(5) == ["early", "late"]
