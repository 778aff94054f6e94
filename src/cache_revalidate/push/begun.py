"""A coroutine that one task begins and another one ends."""

from __future__ import annotations

from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from contextvars import Context

_T = TypeVar("_T")


class Rest:
    """What is left of a coroutine that waits for something: to be awaited by who has the time for it.

    It goes on in the context in which it was begun: what it has set there it may reset there alone.
    """

    __slots__ = ("_awaited", "_context", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], context: Context, awaited: object) -> None:
        self._coroutine = coroutine
        self._context = context
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
                awaited = self._context.run(step)
            except StopIteration:
                return


def begun(context: Context, call: Callable[[_T], Awaitable[None]], argument: _T) -> Rest | None:
    """Call, and run what it returns as far as it goes without waiting; return what is left of it, if anything is."""
    try:
        coroutine, awaited = context.run(_begin, call, argument)
    except StopIteration:
        return None
    return Rest(coroutine, context, awaited)


def _begin(call: Callable[[_T], Awaitable[None]], argument: _T) -> tuple[Coroutine[Any, Any, None], object]:
    called = call(argument)
    coroutine = called if isinstance(called, CoroutineType) else _waiting_for(called)
    return coroutine, coroutine.send(None)


async def _waiting_for(called: Awaitable[None]) -> None:
    await called
