"""The version token."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate.token import RANDOM_CHOICES, TOKEN_DIGITS, is_token, new_token, next_token, random_digits

tokens = st.integers(0, 9 * 10**19 - 1).map(lambda number: f"{number:020d}")
clocks = st.integers(0, 2**53 - 1).filter(lambda clock: clock < 9 * 10**15)
randoms = st.integers(0, RANDOM_CHOICES - 1)
# The largest microsecond that a token holds has no successor: it is the year 2255.
grown_tokens = tokens.filter(lambda token: token < "8999999999999999")


@given(grown_tokens, clocks, randoms)
def test_next_token_is_larger(previous: str, now: int, random: int) -> None:
    """A token's successor is well-formed and a larger string, wherever the clock stands."""
    following = next_token(previous, now=now, random=random)
    assert is_token(following)
    assert following > previous


@given(grown_tokens, clocks, randoms)
def test_next_token_follows_the_clock(previous: str, now: int, random: int) -> None:
    """Its first 16 digits are the clock's microseconds, unless the token before is as new; its last 4 are random."""
    following = next_token(previous, now=now, random=random)
    assert following[:16] == f"{max(int(previous[:16]) + 1, now):016d}"
    assert following[16:] == f"{random:04d}"


@given(st.none() | st.text(max_size=25).filter(lambda text: not is_token(text)), clocks, randoms)
def test_first_token_is_the_clock(malformed: str | None, now: int, random: int) -> None:
    """Where there was no token, or what was there is malformed, the token is the clock's."""
    assert next_token(malformed, now=now, random=random) == f"{now:016d}{random:04d}"


@given(tokens)
def test_tokens_are_well_formed(token: str) -> None:
    """Twenty decimal digits, the first below 9, are a token."""
    assert len(token) == TOKEN_DIGITS
    assert is_token(token)


@given(st.text(alphabet="0123456789 \n+-._eE\u0661\uff11", max_size=24))
def test_only_tokens_are_well_formed(text: str) -> None:
    """Nothing else is: not other digits of Unicode, nor signs, spaces, points or line ends."""
    is_it = len(text) == TOKEN_DIGITS and set(text) <= set("0123456789") and text[0] != "9"
    assert is_token(text) is is_it


@pytest.mark.parametrize(
    "value", [None, 0, 17954886434853037045, b"17954886434853037045", ["1"] * 20, "1700000000", "0000000000", ""]
)
def test_other_values_are_no_tokens(value: object) -> None:
    """Numbers, bytes and Chatwoot's ten digits are no tokens."""
    assert not is_token(value)


def test_new_tokens_differ() -> None:
    """A thousand tokens minted one after the other, each from the one before, are all different and grow."""
    minted = [new_token()]
    for _ in range(1_000):
        minted.append(new_token(minted[-1]))
    assert minted == sorted(set(minted))


def test_new_token_is_now() -> None:
    """A new token is of this machine's clock, in microseconds."""
    before = time.time_ns() // 1_000
    token = new_token()
    assert before <= int(token[:16]) <= time.time_ns() // 1_000


def test_random_digits_have_four_places() -> None:
    """The random part is a number from 0 to 9999, and not always the same."""
    drawn = {random_digits() for _ in range(1_000)}
    assert min(drawn) >= 0
    assert max(drawn) < 10_000
    assert len(drawn) > 500
