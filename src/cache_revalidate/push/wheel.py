"""Many timers that need not be exact, for little."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

ItemT = TypeVar("ItemT")

SLOT: Final = 0.5
"""How much later than it was set for an item may come up, in seconds."""


class Wheel(Generic[ItemT]):
    """Holds items until their time, in seconds; each item has one time at the most."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[ItemT, None]] = {}
        self._slot_of: dict[ItemT, int] = {}

    def set(self, item: ItemT, due: float) -> None:
        """Have an item come up at `due`, or up to one slot later."""
        self.discard(item)
        slot = self._slot_of[item] = int(due / SLOT) + 1
        self._slots.setdefault(slot, {})[item] = None

    def discard(self, item: ItemT) -> None:
        """Forget about an item."""
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._slots[slot]
            del items[item]
            if not items:
                del self._slots[slot]

    def due(self, now: float) -> list[ItemT]:
        """Take out the items whose time has come, earliest first."""
        found = [
            item
            for slot in sorted(slot for slot in self._slots if slot * SLOT <= now)
            for item in self._slots.pop(slot)
        ]
        for item in found:
            del self._slot_of[item]
        return found
