"""The line that a hunt prints every few seconds."""

from collections import Counter, defaultdict

from tests.hunt.checker import Commits
from tests.hunt.history import Fault, History, Read, Write
from tests.hunt.plan import Plan


class Progress:
    """Counts what is in a history, going on from where it was."""

    def __init__(self, plan: Plan, history: History) -> None:
        self._plan = plan
        self._history = history
        self._at = 0
        self._counts: Counter[str] = Counter()
        self._commits: defaultdict[int, Commits] = defaultdict(Commits)
        self._longest = 0.0

    def line(self) -> str:
        """Return the line for this moment."""
        new, self._at = self._history.events[self._at :], len(self._history.events)
        for event in new:
            if isinstance(event, Write):
                self._counts["writes"] += event.answered
                self._commits[event.tenant].add(event)
            elif isinstance(event, Read):
                self._counts["cached" if event.cached else "fetched"] += 1
                if event.cached:
                    self._longest = max(self._longest, self._commits[event.tenant].staleness(event))
            elif isinstance(event, Fault):
                self._counts["faults"] += 1
        return (
            f"{self._history.now():4.0f} of {self._plan.seconds:.0f} s  "
            f"reads {self._counts['cached'] + self._counts['fetched']:,} (cached {self._counts['cached']:,})  "
            f"writes {self._counts['writes']:,}  faults {self._counts['faults']:,}  "
            f"longest staleness {self._longest:.1f} s, bound {self._plan.bound:.1f}"
        )
