"""The door of `make bench`: runs the parts that are asked for, prints their tables, and writes them down."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import lineup, machine, markdown, report
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.environments import APPS, PUSH, Environments, install
from benchmarks.parts import HTTP, PARTS, load
from benchmarks.progress import Progress
from benchmarks.results import Part


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contestant could not be had, unless that is allowed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    names = options.parts or [*PARTS]
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if options.docs and (options.quick or names != [*PARTS]):
        parser.error("the docs are written by a full run alone: leave out PARTS and QUICK, or DOCS")
    failures = install(_environments(names))
    size = QUICK if options.quick else FULL
    bench = Bench(size, Environments(), Progress())
    parts = []
    for name in names:
        parts.append(_run(name, bench))
        print(markdown.part(parts[-1]), flush=True)
    print(markdown.goals(parts))
    facts = machine.facts(size, _environments(PARTS))
    report.write(parts, facts, options.output, options.output / "_static/bench")
    if options.docs:
        report.write(parts, facts, report.DOCS, report.DOCS_CHARTS)
    print(f"Written to {options.output}{' and to docs' if options.docs else ''}.")
    return _judge(parts, failures, allow_missing=options.allow_missing)


def _run(name: str, bench: Bench) -> Part:
    """Run a part; what goes wrong in it is printed, and does not keep the others from running."""
    try:
        return asyncio.run(load(name)(bench))
    except Exception as error:  # noqa: BLE001
        bench.progress.clear()
        traceback.print_exc()
        return Part(name, name, missing=[f"the part {name}: {error}"])


def _judge(parts: Sequence[Part], failures: dict[str, str], *, allow_missing: bool) -> int:
    for name, reason in failures.items():
        print(f"{name} could not be installed: {reason}", file=sys.stderr)
    missing = [reason for part in parts for reason in part.missing]
    for reason in missing:
        print(f"not measured: {reason}", file=sys.stderr)
    return 1 if (failures or missing) and not allow_missing else 0


def _environments(names: Iterable[str]) -> list[str]:
    """Return the environments that some parts need, in the order in which their packages are told."""
    peers = sorted({each.environment for each in lineup.CONDITIONAL} - {APPS})
    return [*([APPS, *peers] if HTTP & {*names} else []), *([PUSH] if "push" in names else [])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--quick", action="store_true", help="one round, to see whether it works")
    parser.add_argument("--output", type=Path, default=report.BUILD, metavar="FOLDER", help="build/bench by default")
    parser.add_argument("--docs", action="store_true", help="write the tables and the charts into docs, too")
    parser.add_argument("--allow-missing", action="store_true", help="exit with 0 though a contestant was missing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
