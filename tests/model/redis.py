"""The copy in Redis, and the mirror: how a token gets there, and who has then been told."""

from .model import READING, Model
from .tokens import use
from .world import LIMIT, Copy, World


def push(model: Model, world: World, number: int, tenant: int, token: int, age: int) -> tuple[World, bool]:
    """Raise a tenant's token in Redis, publish it, and raise the pusher's own mirror; tell whether it was in time."""
    world = raise_mirror(model, world, number, token)
    if age > LIMIT and model.protocol.late == "dropped":
        return world, False
    held = world.redis[tenant]
    grows = token > held.token and model.protocol.expiry == "set when the token grows"
    world = put_copy(world, tenant, Copy(max(held.token, token), 0 if grows or held.age < 0 else held.age))
    world = world._replace(used=use(world.used, tenant, token))
    if model.protocol.mirror != "no":
        writer = 1 << number if number < model.writers else 0
        world = world._replace(event=(max(world.event[0], token), world.event[1] | writer))
    return world, True


def put_copy(world: World, tenant: int, made: Copy) -> World:
    """Return the world with what Redis has for one tenant changed."""
    return world._replace(redis=(*world.redis[:tenant], made, *world.redis[tenant + 1 :]))


def raise_mirror(model: Model, world: World, number: int, token: int) -> World:
    """Raise what the mirror has, if the process lives where it is: the first writer does, and the readers.

    An entry is made by what a read was answered, never by a commit, which may come late: its token may be an old one.
    """
    if number == 0 or number >= model.writers:
        world = raise_readings(model, world, token)
        if token > world.mirror > 0:
            return world._replace(mirror=token)
    return world


def raise_readings(model: Model, world: World, token: int) -> World:
    """Raise what readers have in hand that the mirror is about to hold."""
    if model.protocol.reading == "as answered":
        return world
    raised = tuple(
        process._replace(token=max(process.token, token)) if process.at == READING else process
        for process in world.processes
    )
    return world._replace(processes=raised)


def fill_mirror(model: Model, world: World, token: int) -> World:
    """Make the mirror's entry, or raise it, with what a read was answered."""
    if model.protocol.mirror == "no" or token <= world.mirror:
        return world
    return world._replace(mirror=token)


def returned(model: Model, world: World, writer: int) -> World:
    """Note that a writer's commit() has returned as it should; what stands in its own process's mirror is meant too."""
    told = world.told | 1 if writer == 0 and model.protocol.mirror != "no" else world.told
    return world._replace(returned=world.returned | 1 << writer, told=told)


def bump(world: World, tenant: int, token: int) -> World:
    """Set a token that was minted in Redis itself."""
    return put_copy(world, tenant, Copy(token, 0))._replace(used=use(world.used, tenant, token))
