"""What it costs to tell browsers of a change, as a part of the benchmark."""

from benchmarks.bench import Bench
from benchmarks.push import across, fanout, held, lineup, stalled
from benchmarks.results import Part

NAME = "push"
TITLE = "Push: one event to a crowd of idle connections"

_NOT_HAD = (
    "Centrifugo and Mercure are not measured: no registry that this benchmark installs from (PyPI, Debian, npm) has "
    "their servers, only clients of them."
)


async def measure(bench: Bench) -> Part:
    """Measure both transports, and then what concerns this library alone."""
    part = Part(NAME, TITLE)
    for kind in lineup.LINEUP:
        bench.progress.begin(f"{NAME}, {fanout.NAMES[kind]}")
        _add(part, await fanout.measure(bench, kind))
    for module in (held, across, stalled):
        bench.progress.begin(f"{NAME}, {module.__name__.rpartition('.')[2]}")
        _add(part, await module.measure(bench))
    part.notes.append(_NOT_HAD)
    return part


def _add(part: Part, found: Part) -> None:
    part.tables += found.tables
    part.goals += found.goals
    part.notes += found.notes
    part.missing += found.missing
