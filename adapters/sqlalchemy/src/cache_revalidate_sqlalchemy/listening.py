"""Event listeners that can all be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event


class Listening:
    """The listeners of one attachment."""

    def __init__(self) -> None:
        self._listeners: WeakKeyDictionary[Any, list[tuple[str, Callable[..., Any]]]] = WeakKeyDictionary()

    def __contains__(self, target: Any) -> bool:
        return target in self._listeners

    def listen(self, target: Any, listeners: dict[str, Callable[..., Any]], **options: Any) -> None:
        """Have each function called at the event of `target` that it is listed under; `target` is held weakly."""
        for name, function in listeners.items():
            event.listen(target, name, function, **options)
            self._listeners.setdefault(target, []).append((name, function))

    def stop(self) -> None:
        """Take all listeners back."""
        for target, listeners in list(self._listeners.items()):
            for name, function in listeners:
                event.remove(target, name, function)
        self._listeners.clear()
