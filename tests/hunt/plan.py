"""How long a hunt is, how much it does, and the bound past which a read is stale."""

from dataclasses import dataclass
from typing import Final

LATE_FILL: Final = 5.0
"""A copy is filled with what was read of the database at most this many seconds before, by the process's own clock."""

REDIS_TIMEOUT: Final = 1.0
"""That fill is a call of Redis, which the store gives up after so many seconds."""

SWEEP_EVERY: Final = 0.5
"""How often a worker looks for what nobody has folded, in seconds."""

MARGIN: Final = 0.5
"""Seconds for processes that wait for a processor: the machine is shared."""


@dataclass(frozen=True)
class Plan:
    """One hunt. A *stage* is a tenant on which one scene at a time is played, and which is left alone after it."""

    seconds: float
    seed: int
    max_stale: float = 3.0
    workers: int = 3
    hot_tenants: int = 2
    stages: int = 8
    reads_per_second: float = 150.0
    without: tuple[str, ...] = ()
    """Words: scenes that have one of them in their name are left out."""

    @property
    def bound(self) -> float:
        """How long after a commit was acknowledged a client may ask and be told that what it holds is right.

        The copy that answers last was made from a token read just before the commit, so it was made within
        `LATE_FILL` and one call of Redis after it, and from then on it lives for `max_stale`. A write that nobody
        folded (its worker died, or it came from outside the app) is found by a sweep, two intervals after the commit:
        that is less, and nothing is to be added for it.
        """
        return self.max_stale + LATE_FILL + REDIS_TIMEOUT + MARGIN

    @property
    def rest(self) -> float:
        """How long a stage is left alone after a scene, in seconds: who is stale then is so past the bound."""
        return self.bound + 1.0

    @property
    def hot(self) -> range:
        """The tenants that are written all the time."""
        return range(1, 1 + self.hot_tenants)

    @property
    def quiet(self) -> range:
        """The tenants on which scenes are played."""
        return range(1 + self.hot_tenants, 1 + self.hot_tenants + self.stages)

    @property
    def tenants(self) -> range:
        """All of them."""
        return range(1, 1 + self.hot_tenants + self.stages)
