"""What every part is given: how much to measure, where the environments are, and where to say what goes on."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmarks.environments import Environments
from benchmarks.progress import Progress

ServerName: TypeAlias = Literal["uvicorn", "granian"]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    operations: int
    """Operations of a sample that costs milliseconds, a commit say; of cheaper ones there are more."""
    seconds: int
    """Seconds of a sample of requests."""
    servers: tuple[ServerName, ...] = ("uvicorn", "granian")
    largest: int = 100_000
    """The most tenants."""
    connections: int = 5_000
    """The idle connections of a crowd that is pushed to."""
    held: int = 10_000
    """The most of them."""
    only: frozenset[str] | None = None
    """The contestants for HTTP to measure, by name; None for all. Answers are checked for all."""


FULL = Size(rounds=10, operations=100, seconds=1)
QUICK = Size(rounds=1, operations=8, seconds=1, largest=1_000, connections=500, held=1_000)


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark."""

    size: Size
    environments: Environments
    progress: Progress
