"""What a commit costs on PostgreSQL with fsync: bare, followed at each level, and with advanced-alchemy's listeners."""

from collections.abc import Mapping

from benchmarks import committing
from benchmarks.bench import Bench
from benchmarks.committing import (
    AWAITED,
    BACKGROUND,
    BARE,
    COLLECTING,
    DATABASE_ALONE,
    LEVEL_1,
    LEVEL_1_BACKGROUND,
    Apps,
)
from benchmarks.results import Goal, Part, compared
from benchmarks.rounds import Operation, Samples, interleave, timed

NAME = "commits"
TITLE = "A commit on PostgreSQL with fsync: the time until `commit()` returns"

_PLAIN = "repository.update, no cache"
_THEIRS = "advanced-alchemy's cache listeners, dogpile on Redis"
_MGET = "one Redis MGET by redis-py"
_FINER = 4
"""How many times more rounds there are, each so many times shorter: a disk's moods last less than a long round."""
_LIMITS = {COLLECTING: 1.05, BACKGROUND: 1.25, AWAITED: 1.8}


async def measure(bench: Bench) -> Part:
    """Measure one commit at a time: by one UPDATE, and by advanced-alchemy's repository."""
    part = Part(NAME, TITLE)
    bench.progress.begin(NAME)
    async with committing.running() as apps:
        bare = apps.bare()
        followed = {
            COLLECTING: await apps.collecting(),
            LEVEL_1: await apps.level_1(),
            LEVEL_1_BACKGROUND: await apps.level_1(background=True),
            BACKGROUND: await apps.durable(background=True),
            AWAITED: await apps.durable(),
            DATABASE_ALONE: await apps.durable(has_copies=False),
        }
        samples = await _samples(bench, apps, {name: app.commit for name, app in {BARE: bare, **followed}.items()})
        part.tables.append(compared("one commit", samples, BARE, unit="µs", name="commits", ours=[*followed]))
        part.goals += [
            Goal(f"commit, {name}, against the bare commit", limit, samples.ratio(name, BARE).median)
            for name, limit in _LIMITS.items()
        ]
        ours = (LEVEL_1_BACKGROUND, LEVEL_1, BACKGROUND, AWAITED)
        peers = {_PLAIN: bare, _THEIRS: apps.advanced_alchemy(), **{name: followed[name] for name in ours}}
        samples = await _samples(bench, apps, {name: app.update for name, app in peers.items()})
        title = "one commit by advanced-alchemy's repository"
        part.tables.append(compared(title, samples, _PLAIN, unit="µs", name="commits-peer", ours=ours))
        readers = (LEVEL_1, AWAITED, DATABASE_ALONE)
        samples = await _samples(bench, apps, {_MGET: apps.mget(), **{name: followed[name].read for name in readers}})
        part.tables.append(
            compared("one read of a tenant's tokens", samples, _MGET, unit="µs", name="reads", ours=readers)
        )
    part.notes.append(
        "advanced-alchemy bumps in a task that it starts after the commit: hold it against ours in the background."
    )
    return part


async def _samples(bench: Bench, apps: Apps, operations: Mapping[str, Operation]) -> Samples:
    commits = max(1, bench.size.operations // _FINER)
    contestants = {name: apps.settling(timed(operation, commits)) for name, operation in operations.items()}
    return await interleave(contestants, rounds=bench.size.rounds * _FINER, progress=bench.progress)
