"""How a fold or a lookup ends, for the process that ran it and for those that share it."""

from typing import Final

from .model import DATA, DONE, FOLD, IDLE, Model, put
from .redis import fill_mirror, returned
from .world import EVERYTHING, Process, World

MISS_OLDER: Final = "a miss is answered older"


def finish(model: Model, world: World, number: int, token: int, *, pushed: bool) -> World:
    """End a fold or lookup with its token."""
    world = _end(model, world, number, token, pushed=pushed)
    for rider, process in enumerate(world.processes):
        if process.leader == number:
            world = _end(model, world, rider, token, pushed=pushed)
    return world


def fail(model: Model, world: World, number: int) -> World:
    """End what a process did without a result; who shared it asks for itself."""
    process = world.processes[number]
    ended = Process(DONE) if number < model.writers else Process(IDLE, process.left - 1)
    world = put(world, number, ended)
    for rider, shared in enumerate(world.processes):
        if shared.leader == number:
            world = put(world, rider, shared._replace(at=FOLD, leader=-1))
    return world


def common(world: World, tenant: int, token: int) -> int:
    """Return the data that every client has who holds rows under the token."""
    for filed in world.filed[tenant]:
        if filed.token == token:
            return filed.common
    return EVERYTHING


def _end(model: Model, world: World, number: int, token: int, *, pushed: bool) -> World:
    process = world.processes[number]
    if number < model.writers:
        ended = put(world, number, Process(DONE))
        return returned(model, ended, number) if pushed else ended
    if number not in model.readers:
        return put(world, number, Process(IDLE, process.left - 1))
    tenant = model.tenant[number]
    if process.need & model.touching[tenant] & ~common(world, tenant, token):
        world = world._replace(alarm=MISS_OLDER)
    world = fill_mirror(model, world, world.redis[tenant].token) if pushed else world
    seen = process.seen if model.protocol.read == "data first" else 0
    return put(world, number, Process(DATA, process.left, token=token, seen=seen))
