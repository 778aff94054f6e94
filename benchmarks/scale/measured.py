"""What one engine has been found to carry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.results import Growth, Row, Table
from benchmarks.rounds import Spread

MODELS: tuple[str, ...] = ("inbox", "label", "team")
"""Those of most tenants here."""
MANY: tuple[str, ...] = tuple(f"model_{number:02d}" for number in range(50))
"""Those of an app with many."""


@dataclass
class Measured:
    """Tables and charts of one engine, and the figures that are reckoned with further."""

    tables: list[Table] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


def once(title: str, unit: str, figures: Mapping[str, float], notes: Mapping[str, str] | None = None) -> Table:
    """Return the table of figures that were measured once, because they come out the same each time: sizes, counts."""
    rows = [Row(name, Spread.of([figure]), None, note=(notes or {}).get(name, "")) for name, figure in figures.items()]
    return Table(title, unit, rows, "")


def a_second(microseconds: float) -> str:
    """Say how many operations of so much CPU time fill one core."""
    figure = 1_000_000 / microseconds
    digits = max(len(f"{figure:.0f}") - 2, 0)
    return f"{round(figure / 10**digits) * 10**digits:,} a second fill a core"


def models_of(models: Sequence[str]) -> str:
    """Say how many models they are."""
    return "1 model" if len(models) == 1 else f"{len(models)} models"
