"""A breadth-first search through every state that a transition system can reach; it knows nothing of any protocol."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

Label = tuple[str, str]
"""Who does what."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search saw.

    `states` were reached, all of them unless `broken` says what does not hold in the last one; then `trace` is a
    shortest way there. `events` are the labels met on the way, without who did them, and what `observe` told.
    """

    states: int
    broken: str | None
    trace: tuple[Label, ...]
    events: frozenset[str]

    def __str__(self) -> str:
        """Tell the verdict, and the counterexample step by step."""
        if self.broken is None:
            return f"holds in all {self.states} states"
        width = max((len(actor) for actor, _ in self.trace), default=0)
        steps = (f"{number:3}. {actor:{width}}  {event}" for number, (actor, event) in enumerate(self.trace, start=1))
        return "\n".join([f"after {self.states} states: {self.broken}", *steps])


class SearchTooLargeError(Exception):
    """More states than the caller allows: the verdict is open."""


@dataclass(frozen=True, slots=True)
class System(Generic[S]):
    """A transition system: where it starts, what can happen next, and what must hold in every state.

    `broken` returns what does not hold, or None. `observe` names what is worth knowing of a state that was reached.
    """

    start: S
    steps: Callable[[S], Iterable[tuple[Label, S]]]
    broken: Callable[[S], str | None]
    observe: Callable[[S], Iterable[str]] = lambda _: ()


def search(system: System[S], *, most: int) -> Found:
    """Visit every state, nearest first, until one is broken.

    `most` is the largest number of states to visit; SearchTooLargeError says that there are more.
    """
    came_from: dict[S, tuple[S, Label] | None] = {system.start: None}
    events: set[str] = set()
    queue = deque([system.start])
    while queue:
        state = queue.popleft()
        if (broken := system.broken(state)) is not None:
            return Found(len(came_from), broken, _way_to(state, came_from), frozenset(events))
        events.update(system.observe(state))
        for label, following in system.steps(state):
            events.add(label[1])
            if following not in came_from:
                came_from[following] = (state, label)
                queue.append(following)
        if len(came_from) > most:
            raise SearchTooLargeError(f"More than {most} states: make the setting smaller, or allow more.")
    return Found(len(came_from), None, (), frozenset(events))


def _way_to(state: S, came_from: dict[S, tuple[S, Label] | None]) -> tuple[Label, ...]:
    labels = []
    while (step := came_from[state]) is not None:
        state, label = step
        labels.append(label)
    return tuple(reversed(labels))
