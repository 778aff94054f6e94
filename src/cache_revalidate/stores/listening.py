"""Who listens to the changes of one tenant's tokens, and what they are told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache_revalidate.types import Tokens

_logger = logging.getLogger("cache_revalidate")


class Line(Protocol):
    """A connection over which events come, in their order."""

    @property
    def believed_until(self) -> float:
        """By `time.monotonic`, until when silence means that nothing has happened; 0 once it is closed."""


class Listener(Protocol):
    """Who is told of the changes of a tenant's tokens.

    Its methods return at once, and call neither `listen` nor anything that waits. They may be called from any thread,
    one at a time, and while the store's own lock is held: so the store is not called with a lock that they take.
    """

    def confirmed(self, line: Line) -> None:
        """Hear that all that changes from now on will be heard, while `line` may be believed."""

    def heard(self, tokens: Tokens) -> None:
        """Hear of new tokens by model, which are not to be changed; an empty one means that a token is forgotten.

        Each replaces what was heard before. It may come before `confirmed`. Nothing is said when a token expires: when
        it is read next, the one that is minted is heard.
        """

    def lost(self) -> None:
        """Hear that changes are not told any more, until `listen` is called again; it may be said more than once."""


class Audience:
    """Several listeners who are told the same; the failure of one is logged, and keeps nothing from the others."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        # Replaced as a whole: a listener may come or leave while they are told.
        self._listeners: tuple[Listener, ...] = ()

    def __len__(self) -> int:
        return len(self._listeners)

    def __contains__(self, listener: Listener) -> bool:
        return any(each is listener for each in self._listeners)

    def add(self, listener: Listener) -> None:
        """Take in one who is not there."""
        self._listeners += (listener,)

    def discard(self, listener: Listener) -> None:
        """Let go of one, if he is there."""
        self._listeners = tuple(each for each in self._listeners if each is not listener)

    def confirmed(self, line: Line) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.confirmed(line))

    def heard(self, tokens: Tokens) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.heard(tokens))

    def lost(self) -> None:
        """Tell all."""
        self._tell(lambda listener: listener.lost())

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            if listener in self:
                told(tell, listener)


def told(tell: Callable[[Listener], None], listener: Listener) -> None:
    """Tell a listener; if he fails, say so in the log."""
    try:
        tell(listener)
    except Exception:
        _logger.exception("A listener to changes of tokens failed, and may have missed one: %r", listener)
