"""The Cache-Keys field, held against a library for structured fields."""

import time
from typing import Any, cast

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate.http.cache_keys import MAX_CACHE_KEYS, cache_keys, cache_keys_field, shown_tokens
from cache_revalidate.token import new_token

MODELS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
TOKENS = st.builds(new_token)

KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,5}", fullmatch=True)
ITEMS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.decimals(-(10**12) + 1, 10**12 - 1, places=3),
    st.booleans(),
    st.binary(max_size=7),
    st.builds(http_sf.Token, st.from_regex(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,5}", fullmatch=True)),
    st.builds(http_sf.DisplayString, st.text(max_size=5)),
)
PARAMETERS = st.dictionaries(KEYS, ITEMS, max_size=3)
STRINGS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)

# Pieces that make fields which are nearly right, or right in a way that nobody writes.
PIECES = st.sampled_from([
    *("a", "b", "*k", "A", "9", "label", "=", ",", ", ", "\t,", " ", "\t", ";", '"', "\\", "\xe4", "\x00", "\x7f"),
    *('="x"', '="17952341087214459920"', '=""', r'="\""', r'="\\"', r'="\a"', "=?1", "=1", "=(", ")", '=("a")', "'a'"),
    *(";a", "; a=1", ";a=1.5", ";a=1.", ";a=-", ";a=?2", ";a=?0", ";A", ";t=a/b:c", ";t=*", ";c=@12"),
    *(';b="', ";b=:", ";b=:YQ==:", ";b=:YQ:", ";b=:=:", ";b=:Y:", ";b=::", ";b=:YWI=YQ==:", ';d=%"a"', ';d=%"%"'),
    *(';d=%"%c3%a4"', ';d=%"%c3"', ';d=%"%C3%A4"', ";n=999999999999999", ";n=1000000000000000"),
    *(";n=123456789012.123", ";n=1234567890123.1", ";n=1.1234", ";c=@1.0", ";c=@-0"),
])  # fmt: skip


def reference(field: bytes) -> dict[str, str]:
    """Return what the library reads, if it is a dictionary of strings."""
    try:
        parsed = http_sf.parse(field, tltype="dictionary")
    except http_sf.StructuredFieldError:
        return {}
    assert isinstance(parsed, dict)
    members: dict[str, Any] = {key: cast("tuple[Any, Any]", member)[0] for key, member in parsed.items()}
    return members if all(type(value) is str for value in members.values()) else {}


@given(st.dictionaries(MODELS, TOKENS, min_size=1))
def test_what_is_written_is_read(tokens: dict[str, str]) -> None:
    """A structured-field library reads back every model and token as a string (RFC 9651), and so do we."""
    field = cache_keys_field(tokens)
    assert reference(field) == tokens
    assert cache_keys(field) == tokens


@given(st.dictionaries(KEYS, st.tuples(STRINGS, PARAMETERS), min_size=1))
def test_what_the_library_writes_is_read(members: dict[str, tuple[str, dict[str, object]]]) -> None:
    """Any dictionary of strings is read, whatever its strings hold and whatever parameters they have."""
    field = http_sf.ser(members).encode()  # type: ignore[arg-type]
    assert cache_keys(field) == {key: value for key, (value, _) in members.items()}


@given(st.lists(PIECES, max_size=12).map("".join))
def test_pieces_are_read_as_the_library_does(text: str) -> None:
    """What is nearly a dictionary of strings is read if it is one, and ignored whole if it is not."""
    field = text.encode("latin-1")
    assert cache_keys(field) == reference(field)


@given(st.binary(max_size=40))
def test_garbage_is_read_as_the_library_does(field: bytes) -> None:
    """No bytes make an exception, nor a member that the library does not find."""
    assert cache_keys(field) == reference(field)


@pytest.mark.parametrize(
    ("field", "read"),
    [
        (b"", {}),
        (b"   ", {}),
        (b' label="1" ', {"label": "1"}),
        (b'label="1", label="2"', {"label": "2"}),
        (b'label="1";a;b="x, y";c=2 ,\tteam="3"', {"label": "1", "team": "3"}),
        (b'label="1",', {}),
        (b',label="1"', {}),
        (b'label="1" team="2"', {}),
        (b'label="1"; team="2"', {"label": "1"}),
        (b'label = "1"', {}),
        (b'label="1', {}),
        (b'Label="1"', {}),
        (b"label=1", {}),
        (b"label", {}),
        (b'label=("1")', {}),
        (b'label="1", team', {}),
        (b'label="\xe4"', {}),
    ],
)
def test_field_is_read_strictly(field: bytes, read: dict[str, str]) -> None:
    """One fault, or one member that is no string, and nothing of the field counts; of two members the last one does."""
    assert cache_keys(field) == read == reference(field)


def test_long_field_is_not_read() -> None:
    """A field of more than 16 KiB counts as if it were not there."""
    field = b'label="17952341087214459920";' + b"a" * MAX_CACHE_KEYS
    assert cache_keys(field[:MAX_CACHE_KEYS]) == {"label": "17952341087214459920"}
    assert cache_keys(field[: MAX_CACHE_KEYS + 1]) == {}


@pytest.mark.parametrize(
    "field",
    [
        b'a="' + b"\\\\" * 8_000,
        b'a="x"' + b";a" * 8_000 + b"=",
        b'a="x";a=:' + b"A" * 16_000,
        b'a="x";a=%"' + b"%c3" * 5_000 + b'"',
        b'a="x"' + b" " * 16_000 + b"b",
        b'a="x",' * 2_600,
        b'a="x" , ' * 2_000,
    ],
)
def test_long_field_is_read_in_no_time(field: bytes) -> None:
    """The longest field that is read takes time in proportion to its length, whatever it holds."""
    started = time.process_time()
    assert cache_keys(field) == {}
    assert time.process_time() - started < 0.5


def test_only_tokens_of_the_models_at_stake_are_shown() -> None:
    """Of what a request shows, other models' tokens and what is no token are left out."""
    field = b'label="17952341087214459920", team="1", inbox="17952341087214459920", desk="99999999999999999999"'
    assert shown_tokens(field, ("label", "team")) == {"label": "17952341087214459920"}
    assert shown_tokens(b"nonsense", ("label", "team")) == {}
