"""Judges a history: whether a client was ever told that what it holds is right, too long after it was not.

A cached read that was asked for at `t` and shows revision `r` is *stale* by `t - k`, if `k` is when the first commit
of a larger revision was known to be made. It is stale past the bound if that is more than the bound. The moment of
asking counts: an answer that was on its way when a commit was acknowledged could not know of it.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import Final

from tests.hunt.history import Event, Read, Unanswered, Write

WATCHER: Final = "watch"
"""How the name of a client begins that asks one worker, from when a commit is acknowledged until it shows it."""

_revision = attrgetter("revision")
_known = attrgetter("known")


class Commits:
    """The commits of one tenant: which of them a reader missed, and since when it could have known."""

    def __init__(self) -> None:
        self._writes: list[Write] = []
        self._first_known: list[Write] | None = None

    def add(self, write: Write) -> None:
        """Add a commit; in whatever order."""
        insort(self._writes, write, key=_revision)
        self._first_known = None

    def after(self, revision: int) -> list[Write]:
        """Return the commits of a larger revision."""
        return self._writes[bisect_right(self._writes, revision, key=_revision) :]

    def first_missed(self, revision: int) -> Write | None:
        """Return the commit that was known first, of those with a larger revision."""
        if self._first_known is None:
            self._first_known = list(accumulate(reversed(self._writes), _known_first))[::-1]
        at = bisect_right(self._writes, revision, key=_revision)
        return self._first_known[at] if at < len(self._writes) else None

    def staleness(self, read: Read) -> float:
        """Return how many seconds a read was behind when it was asked for; 0 if it was not."""
        missed = self.first_missed(read.revision)
        return max(0.0, read.asked - missed.known) if missed else 0.0


@dataclass
class Verdict:
    """What a history shows."""

    bound: float
    cached_reads: int = 0
    fetches: int = 0
    """Reads whose rows were fetched, as opposed to being told that they are right."""
    writes: int = 0
    """Writes that were acknowledged."""
    stale: list[tuple[Read, Write]] = field(default_factory=list)
    """The cached reads that were stale past the bound, and what each missed first."""
    longest: float = 0.0
    """The longest staleness of a cached read, in seconds."""
    behind: int = 0
    """Cached reads that were stale at all."""
    impossible: list[Read] = field(default_factory=list)
    """Fetched rows that lacked a commit known before they were asked for: then the hunter is wrong, not the cache."""
    visible_after: list[float] = field(default_factory=list)
    """For each commit and watcher, the seconds from its first question after the commit was acknowledged until the
    answer that showed it; sorted. Without those whose worker did not answer meanwhile."""
    refetches: int = 0
    """Fetches by the clients that are no watchers, but for the first of each."""
    changes: int = 0
    """For each of these clients, the commits that it came to see, at once or several together."""

    @property
    def causes(self) -> Counter[str]:
        """What was done when the commits were made that were missed past the bound; each commit counts once."""
        missed = {(write.tenant, write.revision): write.scene for _, write in self.stale}
        return Counter(missed.values())

    @property
    def stale_reads_by_cause(self) -> Counter[str]:
        """The same, by reads."""
        return Counter(write.scene for _, write in self.stale)

    @property
    def refetches_per_change(self) -> float:
        """How often a client fetched the rows, for each commit that it came to see."""
        return self.refetches / self.changes if self.changes else 0.0

    def visible(self, share: float) -> float:
        """Return the seconds after which this share of the commits had been shown by a worker."""
        if not self.visible_after:
            return 0.0
        return self.visible_after[min(len(self.visible_after) - 1, int(share * len(self.visible_after)))]


def _known_first(one: Write, other: Write) -> Write:
    return min(one, other, key=_known)


def judge(events: Iterable[Event], bound: float) -> Verdict:
    """Return what a history shows; `bound` is in seconds."""
    commits: dict[int, Commits] = {}
    reads: dict[str, list[Read]] = {}
    unanswered: dict[str, list[float]] = {}
    verdict = Verdict(bound)
    for event in events:
        if isinstance(event, Write):
            verdict.writes += event.answered
            commits.setdefault(event.tenant, Commits()).add(event)
        elif isinstance(event, Read):
            reads.setdefault(event.client, []).append(event)
        elif isinstance(event, Unanswered):
            unanswered.setdefault(event.client, []).append(event.asked)
    for client, of_client in reads.items():
        ledger = commits.get(of_client[0].tenant, Commits())
        for read in of_client:
            _judge_read(verdict, ledger, read)
        if client.startswith(WATCHER):
            verdict.visible_after += _delays(ledger, of_client, unanswered.get(client, []))
        else:
            verdict.refetches += sum(not read.cached for read in of_client[1:])
            verdict.changes += sum(1 for _ in _shown(ledger, of_client))
    verdict.visible_after.sort()
    return verdict


def _judge_read(verdict: Verdict, ledger: Commits, read: Read) -> None:
    staleness = ledger.staleness(read)
    if not read.cached:
        verdict.fetches += 1
        if staleness:
            verdict.impossible.append(read)
        return
    verdict.cached_reads += 1
    verdict.behind += staleness > 0
    verdict.longest = max(verdict.longest, staleness)
    if staleness > verdict.bound:
        missed = ledger.first_missed(read.revision)
        assert missed is not None
        verdict.stale.append((read, missed))


def _shown(ledger: Commits, reads: list[Read]) -> Iterator[tuple[Write, Read]]:
    """Yield the acknowledged commits that a client came to show after its first read, each with the read that did."""
    newer: list[Read] = []
    for read in reads:
        if not newer or read.revision > newer[-1].revision:
            newer.append(read)
    revisions = [read.revision for read in newer]
    for write in ledger.after(revisions[0]):
        at = bisect_left(revisions, write.revision)
        if write.answered and at < len(newer):
            yield write, newer[at]


def _delays(ledger: Commits, reads: list[Read], unanswered: list[float]) -> Iterator[float]:
    """Yield how long a watcher's worker took to show each commit, from when it was first asked after it."""
    asked = [read.asked for read in reads]
    for write, read in _shown(ledger, reads):
        if read.asked < write.known:
            yield 0.0
        elif not any(write.known <= moment <= read.accepted for moment in unanswered):
            yield read.accepted - asked[bisect_left(asked, write.known)]
