"""The protocol as a transition system: processes, environment and properties together."""

from collections.abc import Iterator
from typing import Final

from . import folds, properties, readers, writers
from .environment import faults, happens
from .model import Model, Steps
from .search import Found, Label, System, search
from .switches import Protocol, Setting
from .world import World

_READER: Final[dict[str, Steps]] = {**folds.STEPS, **readers.STEPS}
_WRITER: Final[dict[str, Steps]] = {**folds.STEPS, **writers.STEPS}


def check(protocol: Protocol, setting: Setting, *, most: int) -> Found:
    """Search a protocol in a setting, `most` states at most."""
    model = Model(protocol, setting)

    def steps(world: World) -> Iterator[tuple[Label, World]]:
        for number, process in enumerate(world.processes):
            table = _WRITER if number < model.writers else _READER
            if (step := table.get(process.at)) is not None:
                for event, after in step(model, world, number, process):
                    yield (model.names[number], event), after
        yield from happens(model, world)
        yield from faults(model, world)

    system = System(
        start=model.start(),
        steps=steps,
        broken=lambda world: properties.broken(model, world),
        observe=lambda world: properties.observe(model, world),
    )
    return search(system, most=most)
