"""What a part has found: tables of ratios, charts of them, and the goals it was held against."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.rounds import Samples, Spread


@dataclass(frozen=True)
class Row:
    """One contestant: what it took, in the table's unit, and how that compares with the table's base."""

    name: str
    value: Spread
    ratio: Spread | None
    is_ours: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Contestants that were measured in the same rounds."""

    title: str
    unit: str
    rows: Sequence[Row]
    name: str
    """What its chart's file is called."""


@dataclass(frozen=True)
class Point:
    """A figure at one size."""

    size: int
    ratio: Spread


@dataclass(frozen=True)
class Growth:
    """How a cost grows with a size, as ratios to the cost at the smallest."""

    title: str
    size: str
    lines: dict[str, Sequence[Point]]
    name: str


@dataclass(frozen=True)
class Goal:
    """A figure that has to be at most, or at least, so much."""

    what: str
    limit: float
    measured: float
    at_least: bool = False
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass
class Part:
    """All that a part has found."""

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Contestants that could not be had, and why."""


def compared(
    title: str,
    samples: Samples,
    base: str,
    *,
    unit: str,
    name: str,
    ours: Sequence[str] = (),
    notes: dict[str, str] | None = None,
) -> Table:
    """Return the table of all samples, as ratios to those of `base`."""
    rows = [
        Row(each, samples.spread(each), samples.ratio(each, base), each in ours, (notes or {}).get(each, ""))
        for each in samples.names
    ]
    return Table(title, unit, rows, name)
