"""Tokens as small integers: four to each instant of the clock, told apart by their random digits."""

from typing import Final

from .switches import Protocol

CONSTANT: Final = 1
"""The default that the refuted variant answers for a missing token: smaller than any that is minted."""

_DIGITS: Final = 4
_MIDDLE: Final = 2


def mint(protocol: Protocol, previous: int, used: int) -> tuple[int, ...]:
    """Return the tokens that may come next: one for each way in which clock and chance can fall.

    `previous` is 0 when there is none, `used` has a bit for each token that was ever let out.
    """
    instant = previous // _DIGITS + 1
    if protocol.mint == "seconds" and previous:
        return (previous,)
    if protocol.mint != "clock and digits":
        return (instant * _DIGITS,)
    latest = (used.bit_length() - 1) // _DIGITS if used else 0
    if latest < instant:
        return (instant * _DIGITS + _MIDDLE,)
    # The clock has not passed a token that was lost: the digits alone keep the new one apart, on either side of it.
    apart = [instant * _DIGITS + digits for digits in (_MIDDLE - 1, _MIDDLE, _MIDDLE + 1)]
    free = [token for token in apart if not used >> token & 1]
    return (*free, (latest + 1) * _DIGITS + _MIDDLE)


def use(used: tuple[int, ...], tenant: int, token: int) -> tuple[int, ...]:
    """Return `used` with a tenant's token that is let out."""
    return (*used[:tenant], used[tenant] | 1 << token, *used[tenant + 1 :])
