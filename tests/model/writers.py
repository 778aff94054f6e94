"""A writer: its transaction with the data, and what commit() does after it."""

from collections.abc import Iterator
from typing import Final

from .folds import bumped
from .model import BUMP, DONE, EARLY, FOLD, IDLE, OPEN, RAISE, Event, Model, Steps, answers, put, replaced
from .redis import bump, raise_mirror, returned
from .tokens import mint, use
from .world import Database, Process, World


def begin(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Write the data and, as the last statement, the pending row; nobody sees it. Alike writers begin in order."""
    kinds = model.setting.writers
    if any(kinds[earlier] == kinds[number] and world.processes[earlier].at == IDLE for earlier in range(number)):
        return
    protocol = model.protocol
    opened = process._replace(at=EARLY if protocol.write == "bump first" else OPEN)
    if protocol.write == "insert-only":
        # Its clock has passed every token so far, which is the best case for it.
        token = mint(protocol, world.used[0].bit_length(), world.used[0])[0]
        yield (
            "writes, and a token",
            put(world, number, opened._replace(seen=token))._replace(used=use(world.used, 0, token)),
        )
    elif protocol.whole == "plain UPDATE" and model.is_bulk(number):
        rows = sum(1 << tenant for tenant, version in enumerate(world.database.versions) if version)
        if not any(other.held & rows for other in world.processes):
            for new in bumped(model, world, rows):
                yield "writes, and bumps all rows", put(world, number, opened._replace(held=rows, new=new))
    else:
        leases = world.leases | 1 << number if protocol.write == "lease" else world.leases
        yield "writes", put(world, number, opened)._replace(leases=leases)


def bump_early(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Bump in Redis before the transaction is committed."""
    for token in mint(model.protocol, world.redis[0].token, world.used[0]):
        yield "bumps before its COMMIT", put(bump(world, 0, token), number, process._replace(at=OPEN))


def commit(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """COMMIT: data and pending row are there at once."""
    after, following = _committed(model, world.database, number, process)
    world = put(world, number, following)._replace(database=after)
    if following.at == FOLD:
        since = answers(world.database)
        world = world._replace(since=(*world.since[:number], since, *world.since[number + 1 :]))
    if "database crash" in model.faults and "database failover" not in model.faults:
        world = world._replace(standby=after)
    if following.at == DONE:
        world = returned(model, world, number)
    for index, token in enumerate(process.new):
        world = world._replace(used=use(world.used, index, token)) if token else world
    if model.protocol.mirror == "guess" and number == 0:
        # The guess is its own clock's, which is ahead of the database's.
        guess = mint(model.protocol, world.used[0].bit_length(), 0)[0]
        world = raise_mirror(model, world._replace(used=use(world.used, 0, guess)), number, guess)
    yield "COMMITs", world


def _committed(model: Model, before: Database, number: int, process: Process) -> tuple[Database, Process]:
    """Return the database after the COMMIT, and how the writer goes on."""
    protocol, bit = model.protocol, 1 << number
    after = before._replace(data=before.data | bit)
    if protocol.level == "redis":
        return after, Process(DONE if protocol.write == "bump first" else BUMP)
    if protocol.write == "insert-only":
        version = max(before.versions[0], process.seen)
        return after._replace(versions=(version,)), Process(RAISE, token=version)
    if protocol.write == "lease":
        return after, Process(BUMP)
    if protocol.whole == "plain UPDATE" and model.is_bulk(number):
        versions = tuple(new or old for new, old in zip(process.new, before.versions, strict=True))
        return after._replace(versions=versions), Process(RAISE, new=versions)
    return after._replace(pending=before.pending | bit), Process(FOLD)


def bump_after(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Bump without pending rows: in Redis at its level, in the database with a lease."""
    if model.protocol.level == "redis":
        for token in mint(model.protocol, world.redis[0].token, world.used[0]):
            done = put(bump(world, 0, token), number, Process(DONE))
            yield "bumps in Redis", returned(model, done, number)
        return
    for versioned, token in bump_version(model, world):
        ended = versioned._replace(leases=versioned.leases & ~(1 << number))
        yield "bumps and ends its lease", put(ended, number, Process(RAISE, token=token))


def bump_version(model: Model, world: World) -> Iterator[tuple[World, int]]:
    """Bump the version row of the first tenant in a transaction of its own."""
    version = world.database.versions[0]
    for token in mint(model.protocol, version, world.used[0]):
        database = world.database._replace(versions=replaced(world.database.versions, 0, token))
        yield world._replace(database=database, used=use(world.used, 0, token)), token


STEPS: Final[dict[str, Steps]] = {IDLE: begin, EARLY: bump_early, OPEN: commit, BUMP: bump_after}
