"""A short hunt of each scheme, both at once: the library is never stale past the bound, and the control is."""

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.hunt.plan import Plan
from tests.hunt.report import Report
from tests.hunt.run import hunt
from tests.hunt.scenes import FAULTS, names_of

SHORT = Plan(seconds=12.0, seed=1, max_stale=1.0, hot_tenants=1, without=("long",))
PLANS = {"library": SHORT, "control": replace(SHORT, without=("long", "Redis", "PostgreSQL", "worker stopped"))}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Report]:
    """Give what was found; each scene is played once, on a stage of its own."""
    folder = tmp_path_factory.mktemp("hunt")

    def report(scheme: str) -> Report:
        plan = replace(PLANS[scheme], stages=len(names_of(PLANS[scheme])))
        return Report(scheme, plan, hunt(plan, scheme, folder / f"{scheme}.jsonl", lambda line: _say(scheme, line)))

    with ThreadPoolExecutor() as pool:
        return dict(zip(PLANS, pool.map(report, PLANS), strict=True))


def _say(scheme: str, line: str) -> None:
    sys.stdout.write(f"{scheme}: {line}\n")


@pytest.mark.parametrize("scheme", PLANS)
def test_hunter_is_right(reports: Mapping[str, Report], scheme: str) -> None:
    """There was something to be judged, and what the hunter fetched itself is what it knew to be there."""
    assert reports[scheme].verdict.impossible == []
    assert reports[scheme].verdict.cached_reads > 100
    assert set(reports[scheme].ways) == {"patch", "post", "bulk", "raw"}


def test_library_is_never_stale_past_the_bound(reports: Mapping[str, Report]) -> None:
    """Whatever is done to workers, Redis and PostgreSQL, no client is told for too long that old rows are right."""
    library = reports["library"]
    assert library.verdict.stale == [], "\n".join(library.lines())
    assert set(library.faults) == set(FAULTS)


def test_control_is_found_stale(reports: Mapping[str, Report]) -> None:
    """The same hunt finds what seconds, and a hook after the commit that sees some writes, do to clients."""
    control = reports["control"]
    assert {"bulk UPDATE", "raw SQL"} <= set(control.verdict.causes), "\n".join(control.lines())
    assert len(control.verdict.causes) > 2
