"""Measures contestants interleaved: a round runs each of them once, and only figures of one round are compared."""

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks.progress import Progress

Operation = Callable[[], Awaitable[object]]
Contestant = Callable[[], Awaitable[float]]
"""Takes one sample: what one operation cost, in whatever unit the comparison has."""

Clock = Callable[[], int]
"""Tells the time in nanoseconds."""


@dataclass(frozen=True)
class Spread:
    """The median of some values, the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the spread of at least one value."""
        held = list(values)
        return cls(statistics.median(held), min(held), max(held))


class Samples:
    """What each contestant took, round by round."""

    def __init__(self, by_name: Mapping[str, Sequence[float]]) -> None:
        self._by_name = by_name

    @property
    def names(self) -> list[str]:
        """The contestants, in order."""
        return list(self._by_name)

    def of(self, names: Iterable[str]) -> "Samples":
        """Return the samples of some of the contestants."""
        return Samples({name: self._by_name[name] for name in names})

    def spread(self, name: str) -> Spread:
        """Return what a contestant took."""
        return Spread.of(self._by_name[name])

    def ratio(self, name: str, base: str) -> Spread:
        """Return what a contestant took for each unit that `base` took in the same round."""
        return Spread.of(one / of for one, of in zip(self._by_name[name], self._by_name[base], strict=True))

    def difference(self, name: str, base: str) -> Spread:
        """Return what a contestant took more than `base` in the same round."""
        return Spread.of(one - of for one, of in zip(self._by_name[name], self._by_name[base], strict=True))


async def interleave(
    contestants: Mapping[str, Contestant], *, rounds: int, progress: Progress, warm_up: bool = True
) -> Samples:
    """Take one sample of each contestant a round; a first round more, if it is to `warm_up`, does not count.

    Every other round goes backward, so that nobody always pays for what the same contestant has left to be written.
    """
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, contestant in list(contestants.items())[:: -1 if number % 2 else 1]:
            progress.say(f"round {number} of {rounds}: {name}")
            sample = await contestant()
            if number:
                samples[name].append(sample)
    progress.clear()
    return Samples(samples)


def timed(operation: Operation, operations: int, clock: Clock = time.perf_counter_ns) -> Contestant:
    """Return the contestant that repeats an operation; a sample is the microseconds of one of them.

    What waits for nothing is best timed by `time.process_time_ns`, which stands still while another program runs.
    """

    async def sample() -> float:
        started = clock()
        for _ in range(operations):
            await operation()
        return (clock() - started) / operations / 1_000

    return sample
