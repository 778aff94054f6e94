"""The figures of a hunt, for people and for programs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tests.hunt.checker import Verdict, judge
from tests.hunt.history import Event, Fault, Unanswered, Write
from tests.hunt.plan import Plan


class Report:
    """One scheme's hunt."""

    def __init__(self, scheme: str, plan: Plan, events: Iterable[Event]) -> None:
        self.scheme = scheme
        self.plan = plan
        events = list(events)
        self.verdict: Verdict = judge(events, plan.bound)
        self.faults = Counter(event.kind for event in events if isinstance(event, Fault))
        self.ways = Counter(event.way for event in events if isinstance(event, Write) and event.answered)
        self.in_doubt = sum(isinstance(event, Write) and not event.answered for event in events)
        self.unanswered = sum(isinstance(event, Unanswered) for event in events)

    def figures(self) -> dict[str, Any]:
        """Return all figures, as JSON has them; seconds, unless they are counts."""
        verdict = self.verdict
        return {
            "scheme": self.scheme,
            "plan": asdict(self.plan),
            "bound": self.plan.bound,
            "cached_reads": verdict.cached_reads,
            "fetches": verdict.fetches,
            "unanswered_requests": self.unanswered,
            "writes": dict(self.ways),
            "writes_in_doubt": self.in_doubt,
            "faults": dict(self.faults),
            "stale_reads_past_bound": len(verdict.stale),
            "missed_commits_by_scene": dict(verdict.causes),
            "reads_behind": verdict.behind,
            "longest_staleness": round(verdict.longest, 3),
            "visible_p50": round(verdict.visible(0.50), 3),
            "visible_p99": round(verdict.visible(0.99), 3),
            "refetches_per_change": round(verdict.refetches_per_change, 2),
            "impossible_reads": len(verdict.impossible),
        }

    def lines(self) -> list[str]:
        """Return the table of these figures."""
        verdict, plan = self.verdict, self.plan
        rows = [
            ("cached reads", f"{verdict.cached_reads:,}"),
            ("stale past the bound", f"{len(verdict.stale):,}"),
            ("longest staleness", f"{verdict.longest:.2f} s (max_stale {plan.max_stale:g} s, bound {plan.bound:g} s)"),
            (
                "commit to visible",
                f"p50 {1000 * verdict.visible(0.5):.0f} ms, p99 {1000 * verdict.visible(0.99):,.0f} ms, at each worker",
            ),
            ("refetches per change", f"{verdict.refetches_per_change:.2f} by each client"),
            ("fetched reads", f"{verdict.fetches:,} and {self.unanswered:,} requests unanswered"),
            ("writes", f"{verdict.writes:,} ({_listed(self.ways)}), {self.in_doubt:,} in doubt"),
            ("faults", f"{self.faults.total():,}"),
            *((f"  {kind}", f"{count:,}") for kind, count in self.faults.most_common()),
        ]
        if verdict.stale:
            rows.append(("commits missed", f"{verdict.causes.total():,}; by what was done meanwhile:"))
            rows += [(f"  {scene}", f"{count:,}") for scene, count in verdict.causes.most_common()]
        width = max(len(name) for name, _ in rows)
        return [f"{self.scheme}, {plan.seconds:.0f} s, seed {plan.seed}"] + [
            f"  {name:<{width}}  {value}" for name, value in rows
        ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"
