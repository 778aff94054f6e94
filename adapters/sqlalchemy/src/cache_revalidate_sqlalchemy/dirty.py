"""Which pairs this process has committed and not yet folded: its own reads may not take a copy's word for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cache_revalidate import EVERY_TENANT

_MANY: Final = 1024
_RAISES_WITHIN: Final = 5.0
"""Seconds after which what was read of the database is too old to raise a copy to: it may be the copies' next life."""


class Dirty:
    """The marks of one namespace; used from any thread.

    A mark ends when a fold that began after it has raised the copies, or after `lifetime` seconds, when no copy of
    that time is left. `monotonic` is the clock, in seconds.
    """

    def __init__(self, lifetime: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._commits = 0
        self._marks: dict[tuple[str, str], tuple[int, float]] = {}

    def mark(self, changes: Mapping[str, Collection[str]]) -> None:
        """Mark pairs whose transaction has committed."""
        if not changes:
            return
        now = self._monotonic()
        with self._lock:
            self._commits += 1
            for tenant, models in changes.items():
                for model in models:
                    self._marks[tenant, model] = (self._commits, now)
            if len(self._marks) > _MANY:
                oldest = now - self._lifetime
                self._marks = {pair: mark for pair, mark in self._marks.items() if mark[1] > oldest}

    def among(self, tenant: str, models: Iterable[str]) -> bool:
        """Say whether one of a tenant's models is marked."""
        if not self._marks:
            return False
        oldest = self._monotonic() - self._lifetime
        marks = (self._marks.get((owner, model)) for model in models for owner in (tenant, EVERY_TENANT))
        return any(mark is not None and mark[1] > oldest for mark in marks)

    def older_than(self, seconds: float) -> dict[str, set[str]]:
        """Return the pairs that were marked longer ago, and should have been settled by now."""
        now = self._monotonic()
        left: dict[str, set[str]] = {}
        with self._lock:
            for (tenant, model), (_, marked) in self._marks.items():
                if seconds < now - marked < self._lifetime:
                    left.setdefault(tenant, set()).add(model)
        return left

    def look(self, changes: Mapping[str, Collection[str]]) -> Look:
        """Note that the database is about to be asked for some pairs, with all counted in."""
        with self._lock:
            marks = {
                (tenant, model): self._marks[tenant, model][0]
                for tenant, models in changes.items()
                for model in models
                if (tenant, model) in self._marks
            }
        return Look(self, marks, self._monotonic())

    def _settle(self, look: Look) -> None:
        with self._lock:
            for pair, commit in look.marks.items():
                # Whoever committed meanwhile has marked the pair anew.
                if self._marks.get(pair, (None,))[0] == commit:
                    del self._marks[pair]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the database: what it makes good, and when it began."""

    dirty: Dirty
    marks: dict[tuple[str, str], int]
    """Marked pairs, and for each the number of the commit that marked it last."""
    began: float

    def may_raise(self) -> bool:
        """Say whether what was seen is young enough to raise copies to."""
        return self.dirty._monotonic() - self.began <= _RAISES_WITHIN

    def incomplete(self) -> Look:
        """Return the same look, which makes nothing good: a database could not be asked."""
        return Look(self.dirty, {}, self.began)

    def settle(self) -> None:
        """End the marks: the copies are raised, or there are none."""
        self.dirty._settle(self)
