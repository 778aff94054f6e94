"""What is reckoned for more tenants than were measured."""

from dataclasses import fields, replace

import pytest
from benchmarks.scale.ladder import STEPS, Assumed, Costs, step, told
from benchmarks.scale.measured import a_second

COSTS = Costs(
    redis_bytes=300,
    redis_first_subscription=200,
    redis_subscription=100,
    redis_peek=20,
    redis_miss=10,
    redis_raise=20,
    redis_raise_one=15,
    redis_delivery=5,
    postgres_bytes=150,
    postgres_look_up=100,
    postgres_fold=400,
    postgres_note=200,
)


def test_a_step_is_reckoned_as_it_says() -> None:
    """A million tenants come to what the formulas give when they are worked out by hand."""
    found = step(1_000_000, COSTS, Assumed())
    assert (found.active, found.requests, found.commits) == (10_000, 1_000, pytest.approx(83.33, abs=0.01))
    assert (found.processes, found.listeners, found.primaries) == (2, 2, 1)
    assert found.redis_bytes == 10_000 * (300 + 200 + 100)
    assert found.redis_cores == pytest.approx((1_000 * 20 + 166.67 * 30 + 83.33 * 25) / 1e6, rel=1e-3)
    assert found.postgres_bytes == 1_000_000 * 3 * 150
    assert found.postgres_cores == pytest.approx((166.67 * 100 + 83.33 * 600) / 1e6, rel=1e-3)


def test_a_longer_max_stale_spares_the_database_look_ups() -> None:
    """Ten times as long a life of copies means a tenth of the look-ups."""
    short, long = (step(100_000_000, COSTS, replace(Assumed(), max_stale=seconds)) for seconds in (60, 600))
    assert long.look_ups == pytest.approx(short.look_ups / 10)
    assert long.postgres_cores < short.postgres_cores


def test_one_redis_becomes_several_shards() -> None:
    """Where half a core is too little for the tenants, they are shared among more of them."""
    assert [step(tenants, COSTS, Assumed()).primaries for tenants in STEPS] == [1, 1, 1, 1, 1, 6]


def test_costs_are_taken_from_all_that_was_measured() -> None:
    """Figures that are not reckoned with are left out, and those that are missing are an error."""
    figures = {field.name: 1.0 for field in fields(Costs)}
    assert Costs.of({**figures, "another": 2.0}) == Costs(**figures)
    with pytest.raises(KeyError, match="redis_bytes"):
        Costs.of({})


def test_the_ladder_is_a_table_and_says_what_it_assumes() -> None:
    """There is a column for each step, and figures have two digits that mean something."""
    heading, table, assumptions = told(COSTS)
    assert "not measured" in heading
    head, _, *rows = table.splitlines()
    assert head == "| tenants | 1,000 | 10,000 | 100,000 | 1,000,000 | 10,000,000 | 100,000,000 |"
    assert all(row.count("|") == head.count("|") for row in rows)
    assert any("| 45 GB |" in row for row in rows)
    assert "1% of the tenants" in assumptions


def test_how_many_fill_a_core_is_rounded() -> None:
    """It is as exact as the measurement: two digits."""
    assert a_second(16.4) == "61,000 a second fill a core"
