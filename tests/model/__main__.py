"""Print what every search finds: `python -m tests.model`, with words of names to choose, `--large` and `--trace`."""

import sys
import time
from argparse import ArgumentParser

from .cases import Case
from .chosen import CHOSEN
from .refuted import REFUTED
from .system import check

MOST = 5_000_000


def main() -> int:
    """Search what is asked for, and return 1 if a verdict is not the one expected."""
    parser = ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("words", nargs="*", help="search the cases whose name has one of these (default: all)")
    parser.add_argument("--large", action="store_true", help="search the large settings too: minutes")
    parser.add_argument("--trace", action="store_true", help="print the shortest counterexamples")
    chosen = parser.parse_args()
    cases = [case for case in [*CHOSEN, *REFUTED] if chosen.large or not case.large]
    wanted = [case for case in cases if not chosen.words or any(word in case.name for word in chosen.words)]
    verdicts = [_print(case, trace=chosen.trace) for case in wanted]
    return 0 if all(verdicts) else 1


def _print(case: Case, *, trace: bool) -> bool:
    if sys.stderr.isatty():
        sys.stderr.write(f"searching: {case.name}\r")
    began = time.perf_counter()
    found = check(case.protocol, case.setting, most=MOST)
    took = time.perf_counter() - began
    as_expected = found.broken == case.breaks
    verdict = found.broken or "holds"
    length = f"{len(found.trace)} steps" if found.broken else ""
    mark = "" if as_expected else f"   EXPECTED: {case.breaks or 'holds'}"
    sys.stdout.write(f"{case.name:62} {found.states:9,} {took:6.1f} s  {verdict:50} {length}{mark}\n")
    if trace and found.broken:
        sys.stdout.write(f"{found}\n\n")
    sys.stdout.flush()
    return as_expected


if __name__ == "__main__":
    sys.exit(main())
