"""A reader: token first, then data, then it files the rows under the token; and the sweeper, which only folds.

That a client comes back and is answered 304 needs no step: `properties` asks it in every state.
"""

from collections.abc import Iterator
from typing import Final

from .folds import share
from .model import ASKED, DATA, FOLD, IDLE, RAISE, READING, ROWS, Event, Model, Steps, answer, put
from .outcome import fail
from .redis import bump, fill_mirror
from .tokens import CONSTANT, mint
from .world import Database, Filed, Process, World


def request(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Ask the mirror, then Redis, for the token; when both miss, for a lookup."""
    if not process.left:
        return
    if number not in model.readers:
        if world.database.pending:
            yield "sweeps", put(world, number, process._replace(at=FOLD))
        return
    if _would_be_second(model, world, number):
        return
    if model.protocol.read == "data first" and process.at == IDLE:
        rows = world.database.data & model.touching[model.tenant[number]]
        yield "reads its rows first", put(world, number, process._replace(at=ROWS, seen=rows))
        return
    yield from _token(model, world, number, process)


def _would_be_second(model: Model, world: World, number: int) -> bool:
    """Tell whether a reader just like this one has not begun: alike readers begin in order."""
    readers = model.setting.readers
    first = model.writers
    return any(
        readers[earlier - first] == readers[number - first]
        and world.processes[earlier] == Process(IDLE, readers[number - first][1])
        for earlier in range(first, number)
    )


def _token(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    tenant = model.tenant[number]
    token = world.redis[tenant].token
    if world.leases:
        return  # answered without a validator, so nothing is filed
    if world.mirror:
        yield "hits the mirror", put(world, number, process._replace(at=DATA, token=world.mirror))
    elif token:
        at = DATA if model.protocol.mirror == "no" else READING
        yield "hits Redis", put(world, number, process._replace(at=at, token=token))
    elif model.protocol.level == "redis":
        if model.protocol.missing == "constant":
            yield "takes the constant", put(world, number, process._replace(at=DATA, token=CONSTANT))
            return
        for minted in mint(model.protocol, 0, world.used[tenant]):
            mints = put(world, number, process._replace(at=DATA, token=minted))
            yield "mints in Redis", bump(mints, tenant, minted)
    else:
        misses = process._replace(at=ASKED, need=world.database.data)
        yield "misses", put(world, number, misses)


def fill(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Have the mirror hold what Redis has answered, raised by the events that came meanwhile."""
    hit = put(world, number, process._replace(at=DATA, seen=0))
    yield "fills the mirror", hit if process.seen else fill_mirror(model, hit, process.token)


def lookup(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """One SELECT: the version row, and whether any pending row is visible; fold, unless all is there and folded."""
    yield from share(model, world, number, process)
    tenant = model.tenant[number]
    database = world.database if model.protocol.filled == "from the primary" else world.standby
    token = answer(database, tenant)
    if model.protocol.write in {"insert-only", "lease"}:
        if token:
            yield "looks the token up", put(world, number, process._replace(at=RAISE, token=token))
    elif model.protocol.lookup == "fold":
        yield "goes to fold", put(world, number, process._replace(at=FOLD))
    elif token and (model.protocol.lookup == "blind" or not model.unfolded(database, tenant)):
        yield "looks the token up", put(world, number, process._replace(at=RAISE, token=token))
    else:
        yield "has to fold", put(world, number, process._replace(at=FOLD))


def rows(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Read the data and file it; where data may lag or be lost, token and data come from one place."""
    tenant, source = model.tenant[number], model.protocol.data
    if source == "primary":
        data = process.seen if model.protocol.read == "data first" else world.database.data
        yield "files its rows", _file(model, world, number, process.token, data)
    elif source == "replica":
        yield "files the replica's rows", _file(model, world, number, process.token, world.standby.data)
    elif source == "snapshot":
        for database in {world.database, world.standby}:
            if (token := _bound(model, database, tenant)) is None:
                yield "gets no validator", fail(model, world, number)
            else:
                yield "files a snapshot", _file(model, world, number, token, database.data)
    else:
        for place, database in enumerate((world.database, world.standby)):
            if (token := _bound(model, database, tenant)) is None:
                yield "gets no validator", fail(model, world, number)
            else:
                read = process._replace(at=ROWS, token=token, seen=place)
                yield "reads the token in its session", put(world, number, read)


def second(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """The later of two statements that are not of one snapshot."""
    if model.protocol.read == "data first":
        yield from request(model, world, number, process)
        return
    database = world.standby if process.seen else world.database
    yield "files its session's rows", _file(model, world, number, process.token, database.data)


def _bound(model: Model, database: Database, tenant: int) -> int | None:
    """Return the token of a snapshot, None if it has none or a pending row."""
    pending = model.unfolded(database, tenant) and model.protocol.validator != "always"
    return None if pending else answer(database, tenant) or None


def _file(model: Model, world: World, number: int, token: int, data: int) -> World:
    tenant = model.tenant[number]
    data &= model.touching[tenant]
    held = {filed.token: filed for filed in world.filed[tenant]}
    before = held.get(token, Filed(token, data, data))
    held[token] = Filed(token, before.common & data, before.joint | data)
    kept = tuple(sorted(held.values()))
    process = world.processes[number]
    world = put(world, number, Process(IDLE, process.left - 1))
    return world._replace(filed=(*world.filed[:tenant], kept, *world.filed[tenant + 1 :]))


STEPS: Final[dict[str, Steps]] = {IDLE: request, READING: fill, ASKED: lookup, DATA: rows, ROWS: second}
