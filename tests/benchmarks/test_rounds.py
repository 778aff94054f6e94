"""Interleaved rounds, and what is made of their samples."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from benchmarks.progress import Progress
from benchmarks.rounds import Samples, Spread, interleave, timed


def sampler(name: str, values: Iterator[float], log: list[str]) -> Callable[[], Awaitable[float]]:
    """Return a contestant that notes its turn and takes its samples from `values`."""

    async def sample() -> float:
        log.append(name)
        return next(values)

    return sample


async def test_rounds_are_interleaved_and_the_first_does_not_count() -> None:
    """Each round samples everyone, forward and backward, and the samples of the round that warms up are left out."""
    log: list[str] = []
    contestants = {"a": sampler("a", iter([99.0, 1.0, 2.0]), log), "b": sampler("b", iter([99.0, 3.0, 4.0]), log)}
    samples = await interleave(contestants, rounds=2, progress=Progress())
    assert log == ["a", "b", "b", "a", "a", "b"]
    assert samples.names == ["a", "b"]
    assert samples.spread("a") == Spread(1.5, 1.0, 2.0)


async def test_without_warming_up_every_round_counts() -> None:
    """Where nothing has to warm up, there are as many samples as rounds."""
    log: list[str] = []
    await interleave({"a": sampler("a", iter([1.0, 2.0]), log)}, rounds=2, progress=Progress(), warm_up=False)
    assert log == ["a", "a"]


def test_ratios_are_of_one_round() -> None:
    """What is compared was measured in the same round, so that a slow round does not count against anyone."""
    samples = Samples({"base": [1.0, 10.0, 2.0], "other": [2.0, 20.0, 4.0]})
    assert samples.ratio("other", "base") == Spread(2.0, 2.0, 2.0)


def test_differences_are_of_one_round() -> None:
    """So it is for what one takes more than another."""
    samples = Samples({"base": [1.0, 10.0, 2.0], "other": [2.0, 12.0, 5.0]})
    assert samples.difference("other", "base") == Spread(2.0, 1.0, 3.0)


async def test_a_sample_is_the_microseconds_of_one_operation() -> None:
    """The time by the clock that is given is divided by the operations."""
    times = iter([0, 50_000])
    done = []

    async def operation() -> None:
        done.append(1)

    assert await timed(operation, 5, lambda: next(times))() == pytest.approx(10.0)
    assert len(done) == 5
