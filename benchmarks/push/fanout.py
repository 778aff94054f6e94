"""One event to a crowd of idle connections, all delivered: the server's CPU, the time until the last, the memory."""

import math
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from benchmarks.bench import Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.environments import MissingEnvironmentError
from benchmarks.push import lineup
from benchmarks.push.crowd import CrowdError, Kind
from benchmarks.push.crowded import Crowded, WrongEventError, memory, most_connections
from benchmarks.results import Goal, Part, Row, Table, compared
from benchmarks.rounds import Samples, Spread, interleave

NAMES: dict[Kind, str] = {"sse": "SSE", "websocket": "WebSocket"}
_LIMITS: dict[Kind, tuple[float, float]] = {"sse": (1.4, 10.0), "websocket": (1.9, 19.0)}
"""The goals: times the floor, and KiB a connection."""

_FIRST = 50
"""Connections that are opened before memory is looked at: what is imported and made once is there by then."""
_STEPS = 5
"""Looks at the memory while the crowd grows."""
_FIRES = 3
"""Events of one sample."""


@dataclass
class _Found:
    """What one contestant took, round by round."""

    crowded: Crowded
    kib: Spread
    cpu: list[float]
    last: list[float]
    generator: list[float]
    failure: str = ""
    """Why it is not measured after all."""


async def measure(bench: Bench, kind: Kind) -> Part:
    """Measure all contestants of a kind."""
    connections = most_connections(bench.size.connections)
    part = Part(kind, NAMES[kind])
    with ExitStack() as stack:
        found = {}
        for contestant in lineup.LINEUP[kind]:
            bench.progress.say(f"{NAMES[kind]}, opening {connections:,}: {contestant.name}")
            try:
                found[contestant.name] = _opened(Crowded(bench, contestant, kind), connections, stack)
            except (MissingEnvironmentError, WrongEventError, CrowdError, RuntimeError, OSError) as error:
                part.missing.append(f"{contestant.name}, {NAMES[kind]}: {str(error).strip().splitlines()[-1]}")
        samplers = {name: partial(_sample_if_it_can, each, connections) for name, each in found.items()}
        await interleave(samplers, rounds=bench.size.rounds, progress=bench.progress, warm_up=False)
        for name, each in [*found.items()]:
            _check_again(each)
            if each.failure:
                part.missing.append(f"{name}, {NAMES[kind]}: {each.failure}")
                del found[name]
        if lineup.FLOOR not in found:
            raise RuntimeError(f"without the floor there is nothing to compare with: {part.missing}")
        ceiling = found[lineup.FLOOR].crowded.crowd.do("ceiling")["each"]
    _tell(part, kind, found, connections)
    part.notes.append(_of_generator(kind, found, ceiling))
    return part


def _opened(crowded: Crowded, connections: int, stack: ExitStack) -> _Found:
    """Open a crowd step by step, looking at the server's memory after each."""
    stack.enter_context(crowded)
    first = min(_FIRST, connections // 2)
    crowded.crowd.do("open", count=first)
    crowded.check()
    before = [(first, memory(crowded.process_id))]
    for step in range(1, _STEPS + 1):
        size = first + (connections - first) * step // _STEPS
        crowded.crowd.do("open", count=size - before[-1][0])
        crowded.crowd.do("fire")
        before.append((size, memory(crowded.process_id)))
    crowded.check()
    steps = [(after - then) / (size - less) for (less, then), (size, after) in pairwise(before)]
    whole = (before[-1][1] - before[0][1]) / (connections - first)
    return _Found(crowded, Spread(whole, min(steps), max(steps)), [], [], [])


async def _sample_if_it_can(found: _Found, connections: int) -> float:
    """Return the next sample; who has lost a connection is asked for no more."""
    try:
        return math.nan if found.failure else await _sample(found, connections)
    except (CrowdError, OSError) as error:
        found.failure = f"under load {error}"
        return math.nan


async def _sample(found: _Found, connections: int) -> float:
    crowded = found.crowded
    before = cpu_seconds(crowded.process_id)
    fired = [crowded.crowd.do("fire") for _ in range(_FIRES)]
    found.cpu.append((cpu_seconds(crowded.process_id) - before) / _FIRES / connections * 1e6)
    found.last.append(statistics.median(each["last"] for each in fired) / 1_000)
    found.generator.append(statistics.median(each["cpu"] for each in fired) / connections)
    return found.last[-1]


def _check_again(found: _Found) -> None:
    try:
        found.crowded.check()
    except (WrongEventError, CrowdError, OSError) as error:
        found.failure = found.failure or f"after the load {error}"


def _tell(part: Part, kind: Kind, found: dict[str, _Found], connections: int) -> None:
    ours = [each.name for each in lineup.LINEUP[kind] if each.is_ours]
    notes = {name: f"{each.crowded.size} bytes" for name, each in found.items()}
    cpu = Samples({name: each.cpu for name, each in found.items()})
    last = Samples({name: each.last for name, each in found.items()})
    crowd = f"{NAMES[kind]}, one event to {connections:,}"
    part.tables += [
        compared(
            f"{crowd}: the server's CPU for each",
            cpu,
            lineup.FLOOR,
            unit="µs CPU",
            name=f"push-{kind}-cpu",
            ours=ours,
            notes=notes,
        ),
        compared(f"{crowd}: until the last has it", last, lineup.FLOOR, unit="ms", name=f"push-{kind}-time", ours=ours),
        Table(
            f"{NAMES[kind]}, the server's memory for one of {connections:,} idle connections",
            "KiB",
            [Row(name, each.kib, None, name in ours) for name, each in found.items()],
            "",
        ),
    ]
    times, kib = _LIMITS[kind]
    if lineup.OURS in found:
        part.goals += [
            Goal(f"{crowd}, CPU, times plain socket writes", times, cpu.ratio(lineup.OURS, lineup.FLOOR).median),
            Goal(
                f"{crowd}, until the last, times plain socket writes",
                times,
                last.ratio(lineup.OURS, lineup.FLOOR).median,
            ),
            Goal(f"{NAMES[kind]}, memory for a connection", kib, found[lineup.OURS].kib.median, unit="KiB"),
        ]
        if lineup.RAW in found:
            servers = found[lineup.RAW].kib.median
            part.notes.append(
                f"{NAMES[kind]}: of our memory for a connection, {servers:.1f} KiB are uvicorn's own, which any app "
                f"that waits in `receive()` takes, too; {found[lineup.OURS].kib.median - servers:.1f} KiB are ours."
            )


def _of_generator(kind: Kind, found: dict[str, _Found], ceiling: float) -> str:
    floor = found[lineup.FLOOR]
    return (
        f"{NAMES[kind]}: the load generator reads an event in {ceiling:.1f} µs when all are there at once. Beside the "
        f"floor, which took {statistics.median(floor.cpu):.1f} µs of CPU for each, it took "
        f"{statistics.median(floor.generator):.1f} µs."
    )
