"""The tokens of the checker."""

from .switches import Protocol
from .tokens import CONSTANT, mint


def test_a_token_grows_and_is_new() -> None:
    """Every token that may come next is larger than the one before and was never let out."""
    used = 1 << 6 | 1 << 10
    assert mint(Protocol(), 6, used) == (9, 11, 14)
    assert mint(Protocol(), 10, used) == (14,)


def test_a_clock_alone_repeats_itself() -> None:
    """Without random digits a lost token comes again while the clock stands still."""
    assert mint(Protocol(mint="clock"), 4, 1 << 8) == (8,)


def test_seconds_may_be_the_same() -> None:
    """Two bumps in one second give one token."""
    assert mint(Protocol(mint="seconds"), 4, 0) == (4,)
    assert mint(Protocol(mint="seconds"), 0, 0) == (4,)


def test_the_constant_is_never_minted() -> None:
    """The refuted default is no token that anybody mints."""
    assert min(mint(Protocol(), 0, 1 << 5)) > CONSTANT
