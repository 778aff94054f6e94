"""Vary, problem details and header lists."""

import json
import string

import pytest

from cache_revalidate.http.headers import is_token_name, joined
from cache_revalidate.http.problem import problem_details
from cache_revalidate.http.vary import merged_vary


@pytest.mark.parametrize(
    ("present", "merged"),
    [
        (None, b"Authorization, Cookie"),
        (b"", b"Authorization, Cookie"),
        (b"Accept", b"Accept, Authorization, Cookie"),
        (b"accept , COOKIE", b"accept, COOKIE, Authorization"),
        (b"*", b"*"),
        (b"Accept, *", b"*"),
    ],
)
def test_vary_is_merged(present: bytes | None, merged: bytes) -> None:
    """The app's members stay and come first, ours are added once (rule 13)."""
    assert merged_vary(present, (b"Authorization", b"Cookie")) == merged


def test_nothing_to_vary_on_is_no_field() -> None:
    """Without members there is no Vary field, not an empty one."""
    assert merged_vary(None, ()) is None


def test_repeated_headers_are_joined() -> None:
    """A field's lines read as one list, in order; a field that is not there is None, not empty."""
    headers = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert joined(headers, b"a") == b"1, 3"
    assert joined(headers, b"c") is None


def test_token_names() -> None:
    """Only what RFC 9110 allows as a field's name is one."""
    assert is_token_name("X-Api_Key!")
    for wrong in ("", "a b", "a:", "é", "a\n", 3, None):
        assert not is_token_name(wrong)


def test_problem_details_are_json() -> None:
    """An error's body has its title, status and detail (RFC 9457)."""
    assert json.loads(problem_details(403, "No.")) == {"title": "Forbidden", "status": 403, "detail": "No."}
    assert problem_details(403, string.printable)
