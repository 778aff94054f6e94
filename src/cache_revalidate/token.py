"""The version token: 20 decimal digits that only ever grow, and never repeat.

Sixteen digits of microseconds of a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014),
`max(previous + 1, now)`, then four random ones. Tokens of one (tenant, model) compare as strings. The random digits
keep a token unique where a store has lost its newest one and the clock has not passed it yet; a Chatwoot value
has ten digits and can never equal one.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Final, TypeGuard

TOKEN_DIGITS: Final = 20
_CLOCK_DIGITS: Final = 16
RANDOM_CHOICES: Final = 10_000

# The leading digit stays below 9 so that the clock fits the 53 bits of a Lua number (until the year 2255).
_is_token = re.compile(r"[0-8][0-9]{19}", re.ASCII).fullmatch


def is_token(value: object) -> TypeGuard[str]:
    """Say whether `value` is a well-formed token; what is not is treated as missing."""
    return isinstance(value, str) and _is_token(value) is not None


def random_digits() -> int:
    """Return the random part of a token: a whole number from 0 to 9999, from the system's secure source."""
    return secrets.randbelow(RANDOM_CHOICES)


def next_token(previous: str | None, *, now: int, random: int) -> str:
    """Return the token after `previous` (None or a malformed one: there was none).

    `now` is the wall clock in microseconds since 1970, `random` a number from 0 to 9999.
    """
    clock = max(token_clock(previous) + 1, now) if is_token(previous) else now
    return f"{clock:016d}{random:04d}"


def new_token(previous: str | None = None) -> str:
    """Return the token after `previous` by this machine's clock."""
    return next_token(previous, now=time.time_ns() // 1_000, random=random_digits())


def token_clock(token: str) -> int:
    """Return when a token was made, in microseconds since 1970; at least that, if it followed others closely."""
    return int(token[:_CLOCK_DIGITS])
