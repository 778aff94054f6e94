"""The fold, statement by statement, and what may share it.

Each function is one statement, named by where its process stands before it.
"""

from collections.abc import Iterator
from typing import Final

from .model import (
    ASKED,
    COMMIT,
    DELETE,
    FOLD,
    IDS,
    LOCK,
    RAISE,
    RIDES,
    STAR_DELETE,
    STAR_LOCK,
    STAR_ROWS,
    STAR_UPDATE,
    Event,
    Model,
    Steps,
    answer,
    answers,
    put,
    replaced,
)
from .outcome import finish
from .redis import push, put_copy
from .tokens import mint, use
from .world import Copy, Database, Process, World

BACKWARD: Final = "a token goes backward in the version table"
LOST: Final = "a pending row is gone and its token is the same"


def fold(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """The first statement: look for '*' rows where there may be some, else lock; or take part in another's fold."""
    yield from share(model, world, number, process)
    tenant = model.tenant[number]
    if model.star and model.protocol.whole != "plain UPDATE":
        if world.database.pending & model.star:
            yield "sees a '*' row", put(world, number, process._replace(at=STAR_LOCK))
        elif model.is_bulk(number):
            # Another fold took its row: the tokens that it made are those to push.
            versions = answers(world.database)
            yield "sees no '*' row", put(world, number, process._replace(at=RAISE, new=versions))
        else:
            yield "sees no '*' row", put(world, number, process._replace(at=LOCK))
    elif model.protocol.snapshot != "after lock" or "before lock" in model.protocol.delete:
        seen = _visible(model, world.database, tenant)
        looked = process._replace(at=LOCK, seen=seen, token=world.database.versions[tenant])
        yield "sees pending rows before the lock", put(world, number, looked)
    else:
        yield from lock(model, world, number, process)


def share(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Wait for another's fold or lookup in place of an own one."""
    if model.protocol.shared == "no" or model.is_bulk(number):
        return
    shared = {ASKED, FOLD}
    if model.protocol.shared != "not started":
        shared |= {LOCK, IDS if model.protocol.delete == "ids" else DELETE}
    if model.protocol.shared == "started":
        shared |= {DELETE, COMMIT, RAISE}
    for other, leader in enumerate(world.processes):
        same = other != number and model.tenant[other] == model.tenant[number] and not model.is_bulk(other)
        if same and leader.at in shared:
            yield "shares what another asked for", put(world, number, process._replace(at=RIDES, leader=other))


def star_lock(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Lock the '*' row."""
    if not _held(world, number, model.star_lock):
        held = process.held | model.star_lock
        yield "locks '*'", put(world, number, process._replace(at=STAR_DELETE, held=held))


def star_delete(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Delete the '*' rows that are visible now."""
    took = world.database.pending & model.star
    following = STAR_ROWS if took else _after_star(model, number)
    yield "deletes '*' rows", put(world, number, process._replace(at=following, took=took))


def star_rows(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Begin to bump every version row: those that are committed now."""
    if model.protocol.whole == "epoch":
        database = world.database
        previous = max(database.epoch, *database.versions)
        for token in mint(model.protocol, previous, world.used[0]):
            bumped = process._replace(at=_after_star(model, number), epoch=token)
            yield "bumps the epoch", put(world, number, bumped)
        return
    rows = sum(1 << tenant for tenant, version in enumerate(world.database.versions) if version)
    yield "begins to bump all rows", put(world, number, process._replace(at=STAR_UPDATE, seen=rows))


def star_update(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Bump those rows, each as it is now, when nobody else holds one."""
    if _held(world, number, process.seen):
        return
    held = process._replace(at=_after_star(model, number), held=process.held | process.seen, seen=0)
    for new in bumped(model, world, process.seen):
        yield "bumps all rows", put(world, number, held._replace(new=new))


def bumped(model: Model, world: World, rows: int) -> Iterator[tuple[int, ...]]:
    """Return the version rows with new tokens where `rows` has a bit, else 0."""
    choices: list[tuple[int, ...]] = [()]
    for tenant, version in enumerate(world.database.versions):
        tokens = mint(model.protocol, version, world.used[tenant]) if rows >> tenant & 1 else (0,)
        choices = [(*chosen, token) for chosen in choices for token in tokens]
    yield from choices


def lock(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Lock the version row, inserting it if it is missing."""
    tenant = model.tenant[number]
    version = world.database.versions[tenant]
    locked = process._replace(at=IDS if model.protocol.delete == "ids" else DELETE)
    if model.protocol.lock != "none" and _held(world, number, 1 << tenant):
        if model.protocol.lock == "skipped" and version:
            yield "skips the locked row", put(world, number, process._replace(at=RAISE, token=version, seen=0))
        return
    if model.protocol.lock != "none":
        locked = locked._replace(held=process.held | 1 << tenant)
    if version or (process.new and process.new[tenant]):
        yield "locks", put(world, number, locked)
        return
    for token in mint(model.protocol, 0, world.used[tenant]):
        new = replaced(process.new or (0,) * model.tenants, tenant, token)
        yield "inserts and locks", put(world, number, locked._replace(new=new))


def ids(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Select the ids of the pending rows that are visible now."""
    seen = _visible(model, world.database, model.tenant[number])
    yield "selects ids", put(world, number, process._replace(at=DELETE, seen=seen))


def delete(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Delete pending rows and write the next token; nobody sees the two apart, since nothing is committed."""
    protocol, database, tenant = model.protocol, world.database, model.tenant[number]
    visible = _visible(model, database, tenant)
    chosen = protocol.delete in {"ids", "ids from before lock"} or protocol.snapshot != "after lock"
    took = visible & process.seen if chosen else visible
    if any(took & other.took for index, other in enumerate(world.processes) if index != number):
        return  # a DELETE waits for the transaction that has deleted the same row
    found = process.seen if protocol.delete == "key, as seen before lock" else took
    version = process.token if protocol.snapshot == "before lock" else database.versions[tenant]
    new = process.new or (0,) * model.tenants
    deleted = process._replace(at=_after_delete(model), took=process.took | took, seen=0)
    if new[tenant] or not found:
        token = new[tenant] or version
        yield _what(model, number, took), put(world, number, deleted._replace(new=new, token=token))
        return
    for token in mint(protocol, version, world.used[tenant]):
        written = deleted._replace(new=replaced(new, tenant, token), token=token)
        yield _what(model, number, took), put(world, number, written)


def commit(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Commit what the fold has written; no fault undoes it but a database's loss."""
    database, tenant = world.database, model.tenant[number]
    new = process.new or (0,) * model.tenants
    after = database._replace(
        pending=database.pending & ~process.took,
        versions=tuple(written or version for written, version in zip(new, database.versions, strict=True)),
        epoch=process.epoch or database.epoch,
    )
    if model.protocol.relay == "watermark":
        after = after._replace(watermark=max(database.watermark, process.took.bit_length()))
    used = world.used
    for index, written in enumerate(new):
        used = use(used, index, written) if written else used
        used = use(used, index, process.epoch) if process.epoch else used
    wrong = _wrong(model, world, after, process.took)
    since = tuple(() if process.took >> writer & 1 else tokens for writer, tokens in enumerate(world.since))
    world = world._replace(database=after, used=used, since=since, alarm=wrong)
    token = answer(after, tenant)
    if model.protocol.raised == "before COMMIT":
        yield "commits the fold", finish(model, world, number, token, pushed=bool(process.seen))
        return
    to_push = answers(after) if model.is_bulk(number) else ()
    seen = 1 if model.protocol.raised == "if deleted" and not process.took else 0
    to_raise = process._replace(at=RAISE, took=0, new=to_push, epoch=0, held=0, token=token, seen=seen)
    yield "commits the fold", put(world, number, to_raise)


def raise_(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    """Raise the token in Redis and in the mirror, and publish it; then the fold or lookup has ended."""
    if model.is_bulk(number):
        yield from _raise_all(model, world, number, process)
        return
    tenant = model.tenant[number]
    if process.seen and number < model.writers:
        yield "raises nothing", finish(model, world, number, process.token, pushed=True)
        return
    after, pushed = push(model, world, number, tenant, process.token, process.age)
    larger = pushed and model.protocol.answers == "the larger"
    token = after.redis[tenant].token if larger else process.token
    if model.protocol.raised == "before COMMIT" and process.held:
        yield "raises", put(after, number, process._replace(at=COMMIT, seen=int(pushed)))
        return
    event = "raises" if pushed else "drops a late push"
    yield event, finish(model, after, number, token, pushed=pushed)


def _raise_all(model: Model, world: World, number: int, process: Process) -> Iterator[Event]:
    tenant = process.seen
    if model.protocol.whole_pushed == "deleted":
        after, pushed = put_copy(world, tenant, Copy()), True
    elif process.new[tenant]:
        after, pushed = push(model, world, number, tenant, process.new[tenant], process.age)
    else:
        after, pushed = world, True
    if not pushed:
        yield "drops a late push", finish(model, after, number, 0, pushed=False)
    elif tenant + 1 == model.tenants:
        yield "raises its last chunk", finish(model, after, number, 0, pushed=True)
    else:
        yield "raises a chunk", put(after, number, process._replace(seen=tenant + 1))


def _visible(model: Model, database: Database, tenant: int) -> int:
    return model.unfolded(database, tenant) & model.own[tenant]


def _held(world: World, number: int, rows: int) -> bool:
    return any(other.held & rows for index, other in enumerate(world.processes) if index != number)


def _after_star(model: Model, number: int) -> str:
    return COMMIT if model.is_bulk(number) else LOCK


def _after_delete(model: Model) -> str:
    return RAISE if model.protocol.raised == "before COMMIT" else COMMIT


def _what(model: Model, number: int, took: int) -> str:
    if not took:
        return "deletes nothing"
    return "deletes its row" if took == 1 << number else "deletes another's row"


def _wrong(model: Model, world: World, after: Database, took: int) -> str | None:
    for tenant, version in enumerate(world.database.versions):
        if after.versions[tenant] < version:
            return BACKWARD
        for writer, since in enumerate(world.since):
            touched = took >> writer & 1 and model.touching[tenant] >> writer & 1
            if touched and since[tenant] and since[tenant] == answer(after, tenant):
                return LOST
    return None


STEPS: Final[dict[str, Steps]] = {
    FOLD: fold,
    STAR_LOCK: star_lock,
    STAR_DELETE: star_delete,
    STAR_ROWS: star_rows,
    STAR_UPDATE: star_update,
    LOCK: lock,
    IDS: ids,
    DELETE: delete,
    COMMIT: commit,
    RAISE: raise_,
}
