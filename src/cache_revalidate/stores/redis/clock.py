"""Redis' own clock, as far as its answers have told of it."""

from __future__ import annotations

import time


class RedisClock:
    """Tells until when a call that is made now may be carried out, by Redis' clock.

    A Redis that hung carries out what was sent to it when it goes on, long after the caller has given up: a raise that
    comes as late would begin an old token's next life. `patience` is how many seconds a caller waits; None, as in a
    cluster, where each node has a clock of its own, for no limit.
    """

    def __init__(self, patience: float | None) -> None:
        self._patience = patience
        self._ahead: float | None = None

    def learn(self, milliseconds: int) -> None:
        """Hear that Redis' clock stood at `milliseconds` since 1970 when it answered, which was a moment ago."""
        self._ahead = milliseconds - time.monotonic() * 1_000

    def deadline(self) -> int:
        """Return the millisecond since 1970 until which a call may be carried out; 0 if there is no saying."""
        if self._ahead is None or self._patience is None:
            return 0
        return round((time.monotonic() + self._patience) * 1_000 + self._ahead)
