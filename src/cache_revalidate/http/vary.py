"""Vary (RFC 9110 section 12.5.5)."""

from __future__ import annotations

from collections.abc import Iterable

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.headers import is_token_name


def vary_names(names: Iterable[str]) -> tuple[bytes, ...]:
    """Return header names as Vary members; raise `ConfigurationError` for what is not a header's name."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"vary is a list of header names: write vary=[{str(names)!r}].")
    members = tuple(names)
    for name in members:
        if not is_token_name(name):
            raise ConfigurationError(f"{name!r} in vary is not the name of a header.")
    return tuple(name.encode("ascii") for name in members)


def vary_members(field: bytes | None) -> list[bytes]:
    """Return what a Vary field lists (repeated lines joined by commas), nothing if there is none."""
    return [name for part in (field or b"").split(b",") if (name := part.strip())]


def merged_vary(present: bytes | None, added: Iterable[bytes]) -> bytes | None:
    """Return a Vary field with the app's members first, then those of `added` that are missing.

    `present` is the app's field, None if it has none. Names compare without regard to case; `*` already says all
    there is to say. None if there is nothing to vary on.
    """
    members = vary_members(present)
    if b"*" in members:
        return b"*"
    known = {name.lower() for name in members}
    members += [name for name in added if name.lower() not in known]
    return b", ".join(members) or None
