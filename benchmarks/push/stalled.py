"""What some readers that have stalled cost the others: when 99 % of those have an event, with and without."""

import statistics
from contextlib import ExitStack
from functools import partial

from benchmarks.bench import Bench
from benchmarks.environments import MissingEnvironmentError
from benchmarks.push import lineup
from benchmarks.push.crowd import CrowdError, Kind
from benchmarks.push.crowded import Crowded, memory, most_connections
from benchmarks.push.fanout import NAMES
from benchmarks.results import Goal, Part, compared
from benchmarks.rounds import interleave

_SHARE = 100
"""One of so many has stalled: 50 of 5,000."""
_FIRES = 5
_FILLING = 2_000
"""Events after which it is looked whether the buffers are full of those that nobody reads."""
_MOST_FILLING = 60_000
"""Events after which it is given up: the kernel keeps megabytes for a connection."""
_KEPT = "3600"
"""Seconds that a stalled connection is kept: by default it would be closed, and be gone from the figures."""

_WITHOUT = "without stalled readers"


async def measure(bench: Bench) -> Part:
    """Measure both kinds, each against a server of its own without stalled readers."""
    part = Part("stalled", "stalled")
    for kind in lineup.LINEUP:
        try:
            await _measure(bench, kind, part)
        except (MissingEnvironmentError, CrowdError, RuntimeError, OSError) as error:
            part.missing.append(f"stalled readers, {NAMES[kind]}: {str(error).strip().splitlines()[-1]}")
    return part


async def _measure(bench: Bench, kind: Kind, part: Part) -> None:
    connections = most_connections(bench.size.connections)
    stalled = max(connections // _SHARE, 1)
    ours = next(each for each in lineup.LINEUP[kind] if each.is_ours)
    with_stalled = f"with {stalled} stalled readers"
    filling, grown = 0, 0.0
    with ExitStack() as stack:
        crowds = {}
        for name in (_WITHOUT, with_stalled):
            bench.progress.say(f"{NAMES[kind]}, opening {connections:,}: {name}")
            crowded = stack.enter_context(Crowded(bench, ours, kind, {"BENCH_SEND_TIMEOUT": _KEPT}))
            if name == with_stalled:
                crowded.crowd.do("open", count=stalled, stalled=True)
                before = memory(crowded.process_id)
                filling = _fill(crowded, is_whole=bench.size.rounds > 1)
                grown = (memory(crowded.process_id) - before) / stalled
            crowded.crowd.do("open", count=connections - stalled)
            crowds[name] = partial(_sample, crowded)
        samples = await interleave(crowds, rounds=bench.size.rounds, progress=bench.progress, warm_up=False)
    title = f"{NAMES[kind]}, cache_revalidate: until 99 % of the other {connections - stalled:,} have an event"
    part.tables.append(compared(title, samples, _WITHOUT, unit="ms", name="", ours=[with_stalled]))
    moved = (samples.ratio(with_stalled, _WITHOUT).median - 1) * 100
    part.goals.append(
        Goal(
            f"{NAMES[kind]}, {stalled} stalled readers among {connections:,}, the others' p99 moves",
            5.0,
            moved,
            unit="%",
        )
    )
    part.notes.append(
        f"{NAMES[kind]}: each stalled reader took {grown:.1f} KiB of the server's own memory when its buffers were "
        f"full, after {filling:,} events."
    )


def _fill(crowded: Crowded, *, is_whole: bool) -> int:
    """Make events until the kernel takes no more for who does not read; return how many. A few will do for a try."""
    if not is_whole:
        crowded.crowd.do("fill", events=_FILLING // 10)
        return _FILLING // 10
    unread, events = 0, 0
    while events < _MOST_FILLING:
        crowded.crowd.do("fill", events=_FILLING)
        events += _FILLING
        before, unread = unread, crowded.unread
        if unread <= before * 1.01:
            return events
    raise RuntimeError(f"{events:,} events, {unread:,} bytes, did not fill the buffers of stalled readers")


async def _sample(crowded: Crowded) -> float:
    return statistics.median(float(crowded.crowd.do("fire")["p99"]) for _ in range(_FIRES)) / 1_000
