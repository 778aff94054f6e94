"""What one search is: a protocol in a setting, and the verdict that is expected."""

from dataclasses import dataclass
from typing import Final, get_args

from .switches import Fault, Protocol, Setting, Writer

ONE: Final[tuple[Writer, ...]] = ("row",)
BULK: Final[tuple[Writer, ...]] = ("bulk",)
MIXED: Final[tuple[Writer, ...]] = ("row", "bulk")

TWO_READERS: Final = ((0, 1), (0, 1))
READS_AGAIN: Final = ((0, 2), (0, 1))
TENANTS: Final = ((0, 1), (1, 1))

EVERY: Final[frozenset[Fault]] = frozenset(get_args(Fault)) - {"database failover", "subscription lost"}
"""All that strike the durable level where the database keeps what it has acknowledged and there is no mirror."""

_CHOSEN: Final = Protocol()


@dataclass(frozen=True, slots=True)
class Case:
    """One search."""

    name: str
    setting: Setting
    protocol: Protocol = _CHOSEN
    breaks: str | None = None
    """The property that does not hold."""

    instead: Protocol = _CHOSEN
    """What holds in the same setting; it differs by one switch."""

    reaches: frozenset[str] = frozenset()
    """Events that must come about, or the search would prove nothing."""

    at_least: int = 3_000
    """How many states there must be, for the same reason."""

    large: bool = False
    """Whether it takes longer than the tests of every day may."""


def struck_by(*faults: Fault) -> frozenset[Fault]:
    """Return the faults as a setting takes them."""
    return frozenset(faults)


def events(*names: str) -> frozenset[str]:
    """Return what a search must reach, or what it asks, as a case takes them."""
    return frozenset(names)
