"""The Cache-Keys field: a structured-field dictionary of strings (RFC 9651 sections 3.2 and 3.3.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cache_revalidate.token import is_token

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cache_revalidate.types import Tokens

MAX_CACHE_KEYS: Final = 16 * 1024
"""The longest Cache-Keys of a request that is read, in bytes; of a longer one nothing is."""

_KEY: Final = rb"[a-z*][a-z0-9_.*-]*"
_STRING: Final = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
# The bare items that a parameter can have, beside a string (section 3.3).
_NUMBER: Final = rb"-?(?:[0-9]{1,12}\.[0-9]{1,3}(?![0-9])|[0-9]{1,15}(?![0-9.]))"
_TOKEN: Final = rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
_BYTES: Final = rb":(?:(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2,3})={0,2})?:"
_DATE: Final = rb"@-?[0-9]{1,15}(?![0-9.])"
_DISPLAY_STRING: Final = rb'%"(?P<display>(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"'
_BARE_ITEM: Final = b"|".join((_STRING, _NUMBER, _TOKEN, _BYTES, rb"\?[01]", _DATE, _DISPLAY_STRING))

_member = re.compile(b"(%b)=(%b)" % (_KEY, _STRING))
_parameter = re.compile(b";\x20*%b(?:=(?:%b))?" % (_KEY, _BARE_ITEM))
_comma = re.compile(rb"[ \t]*,[ \t]*")
_escaped = re.compile(rb'\\(["\\])')
_percent_encoded = re.compile(rb"%([0-9a-f]{2})")


def cache_keys_field(tokens: Mapping[str, str]) -> bytes:
    """Return the field for `tokens` by model: `label="1795…", team="1795…"`.

    A model's name is a valid key and a token holds digits alone, so nothing needs escaping.
    """
    return ", ".join(f'{model}="{token}"' for model, token in tokens.items()).encode("ascii")


def shown_tokens(field: bytes, models: Collection[str]) -> Tokens:
    """Return the well-formed tokens of `models` that a request's Cache-Keys field shows; whatever else it holds."""
    return {model: token for model, token in cache_keys(field).items() if model in models and is_token(token)}


def cache_keys(field: bytes) -> dict[str, str]:
    """Return the strings that a Cache-Keys field holds, by key; parameters are read over.

    `field` is the whole field, repeated lines joined by commas. Of a key that comes twice the last string counts. A
    field that is malformed, that holds anything but strings, or that is longer than `MAX_CACHE_KEYS`, counts as if it
    were not there (RFC 9651 section 4.2).
    """
    field = field.strip(b" ")
    found: dict[str, str] = {}
    if not field or len(field) > MAX_CACHE_KEYS:
        return found
    position = 0
    while True:
        member = _member.match(field, position)
        if member is None:
            return {}
        found[member[1].decode("ascii")] = _escaped.sub(rb"\1", member[2][1:-1]).decode("ascii")
        position = _after_parameters(field, member.end())
        comma = _comma.match(field, position)
        if comma is None:
            return {} if field[position:].strip(b" \t") else found
        position = comma.end()


def _after_parameters(field: bytes, position: int) -> int:
    """Return where the parameters end that begin at `position`; before the first of them that is malformed."""
    while (parameter := _parameter.match(field, position)) and _is_utf8(parameter["display"]):
        position = parameter.end()
    return position


def _is_utf8(display_string: bytes | None) -> bool:
    """Say whether a display string decodes (section 4.2.10); also if there is none."""
    try:
        _percent_encoded.sub(lambda octet: bytes((int(octet[1], 16),)), display_string or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
