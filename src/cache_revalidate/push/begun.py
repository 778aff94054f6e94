"""A coroutine that one task begins and another one ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context


class Rest:
    """What is left of a coroutine that waits for something: to be awaited by who has the time for it."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for what it waits for, and run it to its end."""
        awaited = self._awaited
        while True:
            step: Callable[[], Any]
            try:
                step = partial(self._coroutine.send, (yield awaited))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the coroutine's
                step = partial(self._coroutine.throw, error)
            try:
                awaited = step()
            except StopIteration:
                return


def begun(coroutine: Coroutine[Any, Any, None], context: Context) -> Rest | None:
    """Run a coroutine as far as it goes without waiting, in a context; return what is left of it, if anything is."""
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration:
        return None
    return Rest(coroutine, awaited)
