"""What must hold in every state.

Some of it the steps watch, and leave in `World.alarm`: a miss answered older, a token that goes backward, a pending row
that is gone without a bump. The rest is asked here of the state alone: what would a client be answered now?
"""

from collections.abc import Iterator
from typing import Final

from .model import DONE, IDLE, Model, answer
from .outcome import common
from .switches import Fault
from .tokens import CONSTANT, mint
from .world import BOUND, World

FOR_GOOD: Final = "a client is stale for good"
RETURNED: Final = "commit() has returned, and a hit is answered older"
TOO_LONG: Final = "a hit is answered older after max_stale"

FRESH: Final = "a hit is answered 304"
OLDER: Final = "a hit is answered older, until Redis expires"

HARMLESS: Final[frozenset[Fault]] = frozenset({"writer crash", "fold crash", "abort", "lost raise"})
"""Faults that don't touch what commit() promises when it returns."""


def broken(model: Model, world: World) -> str | None:
    """Return the first of the properties asked for that does not hold."""
    asked = model.setting.asked
    for wrong in _wrong(model, world):
        if not asked or wrong in asked:
            return wrong
    return None


def _wrong(model: Model, world: World) -> Iterator[str]:
    if world.alarm:
        yield world.alarm
    for tenant, held in enumerate(world.redis):
        if held.token:
            lacking = model.touching[tenant] & ~common(world, tenant, held.token)
            if lacking & world.returned and model.faults <= HARMLESS:
                yield RETURNED
            if lacking & _overdue(model, world):
                yield TOO_LONG
    if world.mirror and world.told & model.touching[0] & ~common(world, 0, world.mirror) and not model.faults:
        yield RETURNED
    if _at_rest(world) and _stale(model, world):
        yield FOR_GOOD


def observe(model: Model, world: World) -> Iterator[str]:
    """Name what a client would see now."""
    for tenant, held in enumerate(world.redis):
        for filed in world.filed[tenant]:
            if held.token == filed.token:
                older = world.database.data & model.touching[tenant] & ~filed.common
                if not older:
                    yield FRESH
                elif _at_rest(world):
                    yield OLDER


def _at_rest(world: World) -> bool:
    return not world.leases and all(process.at in {IDLE, DONE} for process in world.processes)


def _overdue(model: Model, world: World) -> int:
    """Return the writes that were committed so long ago that no client may lack them."""
    if model.protocol.level == "redis":
        return 0
    committed = sum(1 << writer for writer, age in enumerate(world.ages) if age >= BOUND)
    return committed & world.database.data


def _stale(model: Model, world: World) -> bool:
    """Ask once more when nothing is in flight and everything that expires has done so."""
    for tenant, entries in enumerate(world.filed):
        data = world.database.data & model.touching[tenant]
        for filed in entries:
            wrong = filed.common != data or filed.joint != data
            if wrong and filed.token in _answers(model, world, tenant):
                return True
    return False


def _answers(model: Model, world: World, tenant: int) -> tuple[int, ...]:
    protocol, held = model.protocol, world.redis[tenant].token
    if protocol.expiry == "never" and held:
        return (held,)
    if protocol.level == "redis":
        return (CONSTANT,) if protocol.missing == "constant" else mint(protocol, 0, world.used[tenant])
    token = answer(world.database, tenant)
    if token and not model.unfolded(world.database, tenant):
        return (token,)
    return mint(protocol, token, world.used[tenant])
