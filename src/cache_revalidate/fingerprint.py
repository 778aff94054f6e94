"""Hashes that say whether two things are the same, in every process and for good."""

from __future__ import annotations

import hashlib


def fingerprint(*parts: object, size: int) -> str:
    """Return a hash of `parts`, `size` bytes as hex digits, in which no part can pass for another.

    Parts are strings and bytes, and tuples of such.
    """
    return hashlib.blake2b(ascii(parts).encode("ascii"), digest_size=size).hexdigest()
