"""Vary (RFC 9110 section 12.5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def merged_vary(present: bytes | None, added: Iterable[bytes]) -> bytes | None:
    """Return a Vary field with the app's members first, then those of `added` that are missing.

    `present` is the app's field (repeated lines joined by commas), None if it has none. Names compare without
    regard to case; `*` already says all there is to say. None if there is nothing to vary on.
    """
    members = [name for part in (present or b"").split(b",") if (name := part.strip())]
    if b"*" in members:
        return b"*"
    known = {name.lower() for name in members}
    members += [name for name in added if name.lower() not in known]
    return b", ".join(members) or None
