"""`python -m tests.hunt --minutes 10` hunts the library, then for a third of the time the control.

The exit status is 1 if the library was ever stale past the bound, or the control never was; 2 if the hunter itself
was wrong.
"""

import argparse
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from tests.hunt.plan import Plan
from tests.hunt.report import Report
from tests.hunt.run import hunt

OUT = Path(__file__).parents[2] / "build" / "hunt"


def main() -> int:
    """Hunt, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hunt", description="Hunt for stale reads.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the library is hunted")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of all that is left to chance")
    parser.add_argument("--out", type=Path, default=OUT, help="a folder for histories and figures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(seconds=arguments.minutes * 60, seed=arguments.seed)
    reports = {}
    for scheme, seconds in (("library", plan.seconds), ("control", max(plan.seconds / 3, 3 * plan.rest))):
        of_scheme = replace(plan, seconds=seconds)
        say(f"Hunting the {scheme} for {seconds:.0f} s, seed {plan.seed}.")
        events = hunt(of_scheme, scheme, arguments.out / f"{scheme}.jsonl", say)
        report = reports[scheme] = Report(scheme, of_scheme, events)
        say("\n".join(report.lines()))
    figures = {scheme: report.figures() for scheme, report in reports.items()}
    (arguments.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    library, control = reports["library"], reports["control"]
    say(
        f"{len(library.verdict.stale):,} stale reads past the bound in {library.verdict.cached_reads:,} cached reads "
        f"over {library.faults.total():,} faults; the control scheme had {len(control.verdict.stale):,}."
    )
    return exit_status(library, control)


def exit_status(library: Report, control: Report) -> int:
    """Return what the two hunts amount to."""
    if library.verdict.impossible or control.verdict.impossible:
        say("Fetched rows lacked a commit that was known: the hunter is wrong, not the cache.")
        return 2
    return 1 if library.verdict.stale or not control.verdict.stale else 0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
