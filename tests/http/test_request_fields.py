"""What one pass over a request's header finds."""

import pytest

from cache_revalidate.http.request_fields import Header, RequestFields

FIELDS = RequestFields([b"accept", b"accept-language"])
ACCEPT, GERMAN = (b"accept", b"text/html"), (b"accept-language", b"de")
OTHERS = [(b"host", b"desk"), (b"cookie", b"a=b"), (b"if-modified-since", b"Fri, 01 Jan 2021 00:00:00 GMT")]


def test_what_is_there_is_found() -> None:
    """The fields come back as they were sent, the selecting ones in order; what is not there is None or empty."""
    headers = [GERMAN, *OTHERS, (b"cache-keys", b'label="1"'), ACCEPT, (b"if-none-match", b'W/"a"')]
    assert FIELDS.find(headers) == (b'W/"a"', b'label="1"', (GERMAN, ACCEPT))
    assert FIELDS.find(OTHERS) == (None, None, ())
    assert RequestFields().find(headers) == (b'W/"a"', b'label="1"', ())


def test_lines_are_joined() -> None:
    """A field in several lines reads as one list; each of a selecting header's lines counts."""
    headers = [(b"if-none-match", b'"a"'), GERMAN, (b"cache-keys", b'a="1"'), GERMAN, (b"if-none-match", b'"b"')]
    headers += [(b"cache-keys", b'b="2"'), (b"if-none-match", b"")]
    assert FIELDS.find(headers) == (b'"a", "b", ', b'a="1", b="2"', (GERMAN, GERMAN))


@pytest.mark.parametrize("first", [b"if-match", b"if-unmodified-since"])
def test_what_is_evaluated_before_leaves_nothing_to_judge(first: bytes) -> None:
    """Beside another precondition, wherever it stands, If-None-Match is the app's to judge; the rest is found."""
    for headers in ([(first, b"x"), (b"if-none-match", b'"a"'), ACCEPT], [(b"if-none-match", b'"a"'), (first, b"")]):
        if_none_match, _, selected = FIELDS.find(headers)
        assert if_none_match is None
        assert selected == tuple(header for header in headers if header == ACCEPT)


def test_a_field_may_be_read_and_select() -> None:
    """A header that an app names in `vary` selects, also one of those that are read anyway."""
    fields = RequestFields([b"cache-keys", b"if-match"])
    headers = [(b"cache-keys", b'a="1"'), (b"if-match", b'"x"')]
    assert fields.find(headers) == (None, b'a="1"', tuple(headers))


def test_headers_may_be_any_pairs() -> None:
    """Servers may give pairs that are lists: what is found of them is hashable all the same."""
    pairs: list[Header] = [list(ACCEPT), [b"if-none-match", b'"a"']]  # type: ignore[list-item]
    found = FIELDS.find(pairs)
    assert found == (b'"a"', None, (ACCEPT,))
    assert hash(found)
