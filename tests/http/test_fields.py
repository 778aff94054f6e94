"""Vary, Cache-Keys, problem details and header lists."""

import json
import string

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate.http.cache_keys import cache_keys_field
from cache_revalidate.http.headers import is_token_name, joined
from cache_revalidate.http.problem import problem_details
from cache_revalidate.http.vary import merged_vary
from cache_revalidate.token import new_token

MODELS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
TOKENS = st.builds(new_token)


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


@given(st.dictionaries(MODELS, TOKENS, min_size=1))
def test_cache_keys_is_a_structured_dictionary(tokens: dict[str, str]) -> None:
    """A structured-field library reads back every model and token as a string (RFC 9651)."""
    parsed = http_sf.parse(cache_keys_field(tokens), tltype="dictionary")
    assert isinstance(parsed, dict)
    assert parsed == {model: (token, {}) for model, token in tokens.items()}


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
