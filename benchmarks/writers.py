"""Commits per second of eight concurrent writers on PostgreSQL with fsync: of one hot tenant, and of many."""

import asyncio
import time
from functools import partial

from benchmarks import committing
from benchmarks.bench import Bench
from benchmarks.committing import AWAITED, BACKGROUND, BARE, LEVEL_1, OWN, WRITERS, App
from benchmarks.results import Goal, Part, compared
from benchmarks.rounds import Contestant, interleave

NAME = "writers"
TITLE = f"Commits per second of {WRITERS} writers"

_UPSERT = "the version row upserted in the transaction (what we don't do)"
_UPSERTING = (
    "INSERT INTO upserted VALUES ({tenant}, 1) ON CONFLICT (tenant) DO UPDATE SET version = upserted.version + 1"
)


async def measure(bench: Bench) -> Part:
    """Measure the writers on a label each, all of one tenant; then each on a tenant of his own."""
    part = Part(NAME, TITLE)
    commits = max(1, bench.size.operations // 2)
    async with committing.running() as apps:
        bare = apps.bare()
        followed = {
            LEVEL_1: await apps.level_1(),
            BACKGROUND: await apps.durable(background=True),
            AWAITED: await apps.durable(),
        }
        for which, is_hot in (("one hot tenant", True), ("a tenant each", False)):
            bench.progress.begin(f"{NAME}, {which}")
            contestants = {
                name: apps.settling(_at_once(app, commits, is_hot=is_hot))
                for name, app in {BARE: bare, **followed}.items()
            }
            contestants[_UPSERT] = _at_once(bare, commits, is_hot=is_hot, upserts=True)
            samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
            name = "writers-hot" if is_hot else "writers-many"
            part.tables.append(compared(which, samples, BARE, unit="commits/s", name=name, ours=[*followed]))
            if is_hot:
                part.goals += [
                    Goal(
                        f"commits/s of {WRITERS} writers on {which}, {name}, against none",
                        0.7,
                        samples.ratio(name, BARE).median,
                        at_least=True,
                    )
                    for name in (BACKGROUND, AWAITED)
                ]
    part.notes.append(
        "Higher is better here. Background work that is left when the last commit has returned is not in it."
    )
    return part


def _at_once(app: App, commits: int, *, is_hot: bool, upserts: bool = False) -> Contestant:
    """Return the contestant whose sample is the commits per second of all writers together."""

    async def write(writer: int) -> None:
        label, tenant = (writer, 1) if is_hot else (OWN + writer, OWN + writer)
        commit = partial(app.commit, label, tenant=tenant, also=_UPSERTING.format(tenant=tenant) if upserts else None)
        for _ in range(commits):
            await commit()

    async def sample() -> float:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as writers:
            for writer in range(1, WRITERS + 1):
                writers.create_task(write(writer))
        return WRITERS * commits / (time.perf_counter() - started)

    return sample
