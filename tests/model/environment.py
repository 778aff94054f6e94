"""What happens to the processes: time, replication, events on their way, and the faults."""

from collections.abc import Iterator
from typing import Final

from .model import (
    BUMP,
    COMMIT,
    DONE,
    FOLD,
    IN_TRANSACTION,
    OPEN,
    RAISE,
    READING,
    ROWS,
    STAR_LOCK,
    Model,
    answers,
    put,
)
from .outcome import fail, finish
from .redis import put_copy, raise_readings
from .search import Label
from .world import BOUND, LIFE, LIMIT, Copy, Process, World
from .writers import bump_version

_FOLDING: Final = IN_TRANSACTION | {STAR_LOCK, RAISE}

Step = tuple[Label, World]


def happens(model: Model, world: World) -> Iterator[Step]:
    """Return what may happen without a fault."""
    if world.ticks < model.setting.ticks:
        yield ("clock", "ticks"), _tick(model, world)
    if model.lags and world.standby != world.database:
        yield ("standby", "catches up"), world._replace(standby=world.database)
    if "Redis failover" in model.faults and world.redis_standby != world.redis:
        yield ("Redis standby", "catches up"), world._replace(redis_standby=world.redis)
    if model.setting.others and model.protocol.shelf == "shared":
        yield from _other_models(model, world)
    if model.protocol.mirror != "no":
        yield from _mirror(model, world)
    if world.leases:
        yield from _leases(model, world)


def _other_models(model: Model, world: World) -> Iterator[Step]:
    for tenant, held in enumerate(world.redis):
        if held.age < 0:
            yield ("another model", "makes the hash"), put_copy(world, tenant, Copy(0, 0))
        elif model.protocol.expiry != "set when made":
            yield ("another model", "refreshes the hash"), put_copy(world, tenant, held._replace(age=0))


def _mirror(model: Model, world: World) -> Iterator[Step]:
    if world.event != (0, 0):
        told = world._replace(event=(0, 0), told=world.told | world.event[1])
        told = raise_readings(model, told, world.event[0])
        makes = model.protocol.mirror == "events make entries"
        raised = max(world.mirror, world.event[0]) if world.mirror or makes else 0
        yield ("event", "is delivered"), told._replace(mirror=raised)
    if world.mirror:
        yield ("mirror", "entry ends"), world._replace(mirror=0)


def _leases(model: Model, world: World) -> Iterator[Step]:
    for writer in range(model.writers):
        if world.leases >> writer & 1:
            for bumped, _ in bump_version(model, world):
                yield ("lease", "ends, and bumps"), bumped._replace(leases=bumped.leases & ~(1 << writer))


def faults(model: Model, world: World) -> Iterator[Step]:
    """Return the faults that may strike, while the setting allows one more."""
    if world.faults < model.setting.most_faults:
        struck = world._replace(faults=world.faults + 1)
        yield from _storage_faults(model, struck)
        for number in range(len(world.processes)):
            for fault, after in _process_faults(model, struck, number):
                yield (model.names[number], fault), after


def _tick(model: Model, world: World) -> World:
    never = model.protocol.expiry == "never"

    def aged(held: Copy) -> Copy:
        if held.age < 0 or never:
            return held
        return Copy() if held.age + 1 >= LIFE else held._replace(age=held.age + 1)

    processes = tuple(
        process._replace(age=min(process.age + 1, LIMIT + 1)) if process.at in {COMMIT, RAISE} else process
        for process in world.processes
    )
    ages = tuple(
        min(age + 1, BOUND) if world.database.data >> writer & 1 else 0 for writer, age in enumerate(world.ages)
    )
    return world._replace(
        ticks=world.ticks + 1,
        redis=tuple(map(aged, world.redis)),
        redis_standby=tuple(map(aged, world.redis_standby)),
        processes=processes,
        ages=ages,
    )


def _storage_faults(model: Model, world: World) -> Iterator[Step]:
    redis = world.redis
    if "Redis emptied" in model.faults and any(held.age >= 0 for held in redis):
        yield ("Redis", "is emptied"), world._replace(redis=(Copy(),) * model.tenants)
    if "Redis failover" in model.faults and redis != world.redis_standby:
        yield ("Redis", "fails over"), world._replace(redis=world.redis_standby)
    if "subscription lost" in model.faults and _is_mirrored(world):
        lost = tuple(each._replace(seen=1) if each.at == READING else each for each in world.processes)
        yield ("mirror", "loses its subscription"), world._replace(mirror=0, event=(0, 0), processes=lost)
    if model.faults & {"database crash", "database failover"} and world.database != world.standby:
        yield ("database", "loses what is newest"), _fail_over(model, world)


def _is_mirrored(world: World) -> bool:
    return bool(world.mirror) or world.event != (0, 0) or any(process.at == READING for process in world.processes)


def _fail_over(model: Model, world: World) -> World:
    data = world.standby.data
    world = world._replace(database=world.standby, returned=world.returned & data, told=world.told & data)
    for number, process in enumerate(world.processes):
        # What was open is aborted; a session on the standby goes on.
        on_primary = process.at == ROWS and not process.seen
        if process.at in IN_TRANSACTION or process.at == OPEN or on_primary:
            world = fail(model, world, number)
    since = tuple(
        tokens or answers(world.standby) if world.standby.pending >> writer & 1 else ()
        for writer, tokens in enumerate(world.since)
    )
    kept = tuple(process._replace(need=process.need & data) for process in world.processes)
    return world._replace(processes=kept, since=since)


def _process_faults(model: Model, world: World, number: int) -> Iterator[tuple[str, World]]:
    process = world.processes[number]
    writer = number < model.writers
    if "abort" in model.faults and process.at == OPEN and writer:
        yield "aborts", put(world, number, Process(DONE))
    if "writer crash" in model.faults and writer and process.at in {FOLD, BUMP}:
        yield "crashes before its fold", fail(model, world, number)
    if "fold crash" in model.faults and process.at in _FOLDING:
        yield "crashes in its fold", fail(model, world, number)
    if "lost raise" in model.faults and process.at == RAISE:
        if model.protocol.raised == "before COMMIT" and process.held:
            yield "loses its raise", put(world, number, process._replace(at=COMMIT, seen=0))
        else:
            yield "loses its raise", finish(model, world, number, process.token, pushed=False)
