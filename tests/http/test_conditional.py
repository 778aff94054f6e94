"""If-None-Match, as `cache_revalidate.http.conditional` reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate.http.conditional import MAX_IF_NONE_MATCH, if_none_match, opaque_tag, weak

ETAGC_BYTES = [0x21, *range(0x23, 0x7F), *range(0x80, 0x100)]
ETAGC = st.lists(st.sampled_from(ETAGC_BYTES), max_size=12).map(bytes)
SEPARATORS = st.sampled_from([b",", b", ", b" ,", b",,", b", ,\t", b" , "])


@pytest.mark.parametrize(
    "field",
    [
        b'W/"tok"',
        b'"tok"',
        b'"x", W/"tok"',
        b'W/"tok", "x"',
        b'"a,b", "tok"',
        b', ,"tok" ,',
        b'"x"\t,\t"tok"',
        b'"\xff\x80", "tok"',
        b'"", "tok"',
        b'"x","tok"',
    ],
)
def test_a_listed_tag_matches_weakly(field: bytes) -> None:
    """A tag matches wherever it stands in the list, weak or not, whatever the other tags hold (rule 2)."""
    assert if_none_match(field, b'W/"tok"')
    assert if_none_match(field, b'"tok"')


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"*",
        b"tok",
        b'"tok',
        b'tok"',
        b'"x"',
        b'"tok2"',
        b'"a,tok"',
        b'"x" "tok"',
        b'w/"tok"',
        b'"x", tok, "tok"',
        b'"tok", *',
        b'"t\x00ok"',
        b'"x"; "tok"',
        b"\xff\xfe",
        b'W/ "tok"',
        b'"tok"x',
    ],
)
def test_what_is_not_listed_or_not_readable_does_not_match(field: bytes) -> None:
    """Another tag, `*`, and a list with a malformed member never lead to a 304 (rule 2)."""
    assert not if_none_match(field, b'W/"tok"')


def test_a_field_that_is_too_long_matches_nothing() -> None:
    """A list of over 16 KiB is not read, and one of just that length is."""
    fitting = b'"tok",'.rjust(MAX_IF_NONE_MATCH, b",")
    assert if_none_match(fitting, b'"tok"')
    assert not if_none_match(b"," + fitting, b'"tok"')


def test_an_etag_that_is_none_matches_nothing() -> None:
    """An app's own ETag that is malformed equals nothing but its own bytes."""
    assert not if_none_match(b'"tok"', b"tok")
    assert opaque_tag(b"tok") is None


@given(before=st.lists(ETAGC), tag=ETAGC, after=st.lists(ETAGC), separator=SEPARATORS, is_weak=st.booleans())
def test_any_tag_is_found_in_any_list(
    before: list[bytes], tag: bytes, after: list[bytes], separator: bytes, is_weak: bool
) -> None:
    """A list made of any tags, joined in any allowed way, matches each tag that went into it."""
    members = [*before, tag, *after]
    field = separator.join((b'W/"%s"' if is_weak else b'"%s"') % member for member in members)
    assert if_none_match(field, b'W/"%s"' % tag)
    other = b"!" + max(members, key=len)
    assert not if_none_match(field, b'"%s"' % other)


@given(st.binary(max_size=64))
def test_no_bytes_crash_the_parser_or_match_by_chance(field: bytes) -> None:
    """Any bytes at all are answered, and match only if the tag stands in them."""
    assert not if_none_match(field, b'W/"tok"') or b'"tok"' in field


def test_weak_writes_what_opaque_tag_reads() -> None:
    """Our own tag is weak and reads back (rule 8)."""
    assert weak("abc") == b'W/"abc"'
    assert opaque_tag(weak("abc")) == b"abc"
