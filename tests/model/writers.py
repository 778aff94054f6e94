"""A writer: its transaction with the data, and what commit() does after it."""

from collections.abc import Iterator
from typing import Final

from .folds import bumped
from .model import BUMP, BUMPED, DONE, FOLD, IDLE, OPEN, RAISE, Event, Model, Steps, answers, put, replaced
from .redis import bump, raise_mirror, returned
from .tokens import mint, use
from .world import Process, World


def begin(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Write the data and, as the last statement, the pending row; nobody sees it. Alike writers begin in order."""
    kinds = model.setting.writers
    if any(kinds[earlier] == kinds[number] and world.processes[earlier].at == IDLE for earlier in range(number)):
        return
    protocol = model.protocol
    opened = process._replace(at=OPEN)
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


def commit(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """COMMIT: data and pending row are there at once."""
    protocol, bit = model.protocol, 1 << number
    if protocol.write == "bump first" and process.at == OPEN:
        for token in mint(protocol, world.redis[0].token, world.used[0]):
            yield "bumps", put(bump(world, 0, token), number, process._replace(at=BUMPED))
        return
    before = world.database
    after = before._replace(data=before.data | bit)
    if protocol.level == "redis":
        following = Process(DONE if protocol.write == "bump first" else BUMP)
    elif protocol.write == "insert-only":
        version = max(before.versions[0], process.seen)
        after = after._replace(versions=(version,))
        following = Process(RAISE, token=version)
    elif protocol.write == "lease":
        following = Process(BUMP)
    elif process.new:
        versions = tuple(new or old for new, old in zip(process.new, before.versions, strict=True))
        after = after._replace(versions=versions)
        following = Process(RAISE, new=versions)
    else:
        after = after._replace(pending=before.pending | bit)
        following = Process(FOLD)
        world = world._replace(since=(*world.since[:number], answers(before), *world.since[number + 1 :]))
    world = put(world, number, following)._replace(database=after)
    if "database crash" in model.faults and "database failover" not in model.faults:
        world = world._replace(standby=after)
    if following.at == DONE:
        world = returned(model, world, number)
    for index, token in enumerate(process.new):
        world = world._replace(used=use(world.used, index, token)) if token else world
    if protocol.mirror == "guess" and number == 0:
        # The guess is its own clock's, which is ahead of the database's.
        guess = mint(protocol, world.used[0].bit_length(), 0)[0]
        world = raise_mirror(model, world._replace(used=use(world.used, 0, guess)), number, guess)
    yield "COMMITs", world


def bump_after(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Bump without pending rows: in Redis at its level, in the database with a lease."""
    if model.protocol.level == "redis":
        for token in mint(model.protocol, world.redis[0].token, world.used[0]):
            bumped_ = put(bump(world, 0, token), number, Process(DONE))
            yield "bumps in Redis", returned(model, bumped_, number)
        return
    for after, token in bump_version(model, world):
        after = after._replace(leases=after.leases & ~(1 << number))
        yield "bumps and ends its lease", put(after, number, Process(RAISE, token=token))


def bump_version(model: Model, world: World) -> Iterator[tuple[World, int]]:
    """Bump the version row of the first tenant in a transaction of its own."""
    version = world.database.versions[0]
    for token in mint(model.protocol, version, world.used[0]):
        database = world.database._replace(versions=replaced(world.database.versions, 0, token))
        yield world._replace(database=database, used=use(world.used, 0, token)), token


STEPS: Final[dict[str, Steps]] = {IDLE: begin, OPEN: commit, BUMPED: commit, BUMP: bump_after}
