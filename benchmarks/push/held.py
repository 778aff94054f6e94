"""As many connections as one process is to hold, all of them told of one event."""

from contextlib import ExitStack
from functools import partial

from benchmarks.bench import Bench
from benchmarks.environments import MissingEnvironmentError
from benchmarks.push import lineup
from benchmarks.push.crowd import CrowdError
from benchmarks.push.crowded import Crowded, WrongEventError, most_connections
from benchmarks.push.fanout import NAMES
from benchmarks.results import Part, compared
from benchmarks.rounds import interleave

_ROUNDS = 5
"""Rounds at most: what is asked is whether all are told."""


async def measure(bench: Bench) -> Part:
    """Hold them, those of each kind on a server of its own, beside the floor."""
    connections = most_connections(bench.size.held)
    part = Part("held", "held")
    if connections < bench.size.held:
        part.notes.append(f"This system allows {connections:,} connections a process, of {bench.size.held:,} wanted.")
    with ExitStack() as stack:
        found = {}
        for kind, contestants in lineup.LINEUP.items():
            for contestant in contestants:
                if contestant.name not in {lineup.FLOOR, lineup.OURS}:
                    continue
                name = f"{contestant.name}, {NAMES[kind]}"
                bench.progress.say(f"opening {connections:,}: {name}")
                try:
                    crowded = stack.enter_context(Crowded(bench, contestant, kind))
                    crowded.crowd.do("open", count=connections)
                    crowded.check()
                    found[name] = partial(_sample, crowded)
                except (MissingEnvironmentError, WrongEventError, CrowdError, RuntimeError, OSError) as error:
                    part.missing.append(f"{connections:,} held by {name}: {str(error).strip().splitlines()[-1]}")
        rounds = min(bench.size.rounds, _ROUNDS)
        samples = await interleave(found, rounds=rounds, progress=bench.progress, warm_up=False)
    part.tables.append(
        compared(
            f"{connections:,} connections held, until the last has an event",
            samples,
            samples.names[0],
            unit="ms",
            name="push-held",
            ours=[name for name in samples.names if name.startswith(lineup.OURS)],
        )
    )
    return part


async def _sample(crowded: Crowded) -> float:
    """Return the milliseconds until the last has an event; that one does not have it is an error."""
    return float(crowded.crowd.do("fire")["last"]) / 1_000
