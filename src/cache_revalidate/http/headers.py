"""Header lists as ASGI carries them (RFC 9110 section 5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


def joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return a field's value, its repeated lines joined by commas (section 5.3); None if it is not there.

    `name` is in lower case, as the names in `headers` are.
    """
    values = [value for key, value in headers if key == name]
    return b", ".join(values) if values else None


def is_token_name(name: object) -> bool:
    """Say whether `name` can be a field's name (section 5.1)."""
    return isinstance(name, str) and _token.fullmatch(name) is not None
