"""Measures contestants interleaved: a round runs each of them once, and only times of one round are compared."""

import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Contestant = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Result:
    """What one contestant took, and how that compares with the first one in the same rounds."""

    name: str
    microseconds: float
    """The median of the rounds, for one operation."""
    ratio: float
    least: float
    most: float


async def measure(contestants: Mapping[str, Contestant], *, rounds: int, operations: int) -> list[Result]:
    """Run each contestant `operations` times a round; ratios are to the first of them, round by round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-1, rounds):  # the first round warms up and is not counted
        for name, contestant in contestants.items():
            started = time.perf_counter()
            for _ in range(operations):
                await contestant()
            if number >= 0:
                times[name].append((time.perf_counter() - started) / operations)
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print("\r", end="", file=sys.stderr)
    (first, *_) = times.values()
    results = []
    for name, taken in times.items():
        ratios = [one / base for one, base in zip(taken, first, strict=True)]
        results.append(
            Result(name, statistics.median(taken) * 1e6, statistics.median(ratios), min(ratios), max(ratios))
        )
    return results


def table(title: str, results: list[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [f"| {title} | µs | ratio | min to max |", "|---|---|---|---|"]
    lines += [
        f"| {result.name} | {result.microseconds:.0f} | {result.ratio:.2f} | {result.least:.2f} to {result.most:.2f} |"
        for result in results
    ]
    return "\n".join(lines)
