"""A short hunt of each scheme: the library is never stale past the bound, and the control is."""

import sys
from pathlib import Path

from tests.hunt.plan import Plan
from tests.hunt.report import Report
from tests.hunt.run import hunt
from tests.hunt.scenes import FAULTS, SCENES

SHORT = Plan(seconds=12.0, seed=1, max_stale=1.0, stages=len(SCENES), hot_tenants=1, long_stops=False)


def report_on(scheme: str, plan: Plan, folder: Path) -> Report:
    """Hunt a scheme, and return what was found."""
    return Report(scheme, plan, hunt(plan, scheme, folder / f"{scheme}.jsonl", _say))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def test_library_is_never_stale_past_the_bound(tmp_path: Path) -> None:
    """Whatever happens to workers, Redis and PostgreSQL, no client is told for too long that old rows are right."""
    report = report_on("library", SHORT, tmp_path)
    assert report.verdict.impossible == []
    assert report.verdict.stale == [], "\n".join(report.lines())
    assert report.verdict.cached_reads > 100
    assert set(report.faults) == set(FAULTS)
    assert set(report.ways) == {"patch", "post", "bulk", "raw"}


def test_control_is_found_stale(tmp_path: Path) -> None:
    """The same hunt finds what seconds, a hook after the commit and a constant default do to clients."""
    report = report_on("control", SHORT, tmp_path)
    assert report.verdict.impossible == []
    assert {"bulk UPDATE", "raw SQL"} & set(report.verdict.causes)
    assert len(report.verdict.causes) > 2
