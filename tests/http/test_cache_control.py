"""Cache-Control, as `cache_revalidate.http.cache_control` writes, checks and reads it."""

import pytest

from cache_revalidate import CacheControl, ConfigurationError
from cache_revalidate.http.cache_control import directive_names


@pytest.mark.parametrize(
    ("cache_control", "field"),
    [
        (CacheControl(), b"private, no-cache"),
        (CacheControl(max_age=10, stale_while_revalidate=300), b"max-age=10, private, stale-while-revalidate=300"),
        (CacheControl(max_age=0, stale_if_error=60), b"max-age=0, private, stale-if-error=60"),
        (CacheControl(max_age=5, must_revalidate=True), b"max-age=5, private, must-revalidate"),
        (CacheControl(max_age=5, public=True, s_maxage=60), b"max-age=5, public, s-maxage=60"),
        (CacheControl(public=True), b"public, no-cache"),
    ],
)
def test_the_field_says_what_was_configured(cache_control: CacheControl, field: bytes) -> None:
    """Each option has its directive, and answers are private unless the app says otherwise (rule 11)."""
    assert cache_control.field == field


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        ({"s_maxage": 60}, "public=True"),
        ({"max_age": 1, "public": True, "s_maxage": 60, "stale_while_revalidate": 5}, "leave one side out"),
        ({"max_age": 1, "public": True, "s_maxage": 60, "stale_if_error": 5}, "leave one side out"),
        ({"stale_while_revalidate": 300}, "give max_age"),
        ({"stale_if_error": 300}, "give max_age"),
        ({"public": True, "s_maxage": 60}, "give max_age"),
        ({"max_age": 1, "must_revalidate": True, "stale_while_revalidate": 0}, "leave one side out"),
        ({"max_age": 1, "must_revalidate": True, "stale_if_error": 3}, "leave one side out"),
        ({"max_age": -1}, "0 or more"),
        ({"max_age": 1.5}, "whole number"),
        ({"max_age": True}, "whole number"),
        ({"max_age": "10"}, "whole number"),
        ({"public": "no"}, "True or False"),
        ({"must_revalidate": 0}, "True or False"),
    ],
)
def test_contradictions_are_refused(options: dict[str, int], mend: str) -> None:
    """What contradicts itself, or would leak to shared caches, is refused when it is made (rules 11 and 12)."""
    with pytest.raises(ConfigurationError, match=mend):
        CacheControl(**options)  # type: ignore[arg-type]


def test_directive_names_are_read_in_any_spelling() -> None:
    """Names are found whatever their case, spacing and arguments."""
    assert directive_names(b'Private , max-age=3,NO-STORE,x="a"') == {b"private", b"max-age", b"no-store", b"x"}
