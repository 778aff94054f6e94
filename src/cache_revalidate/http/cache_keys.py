"""The Cache-Keys field: a structured-field dictionary of strings (RFC 9651 section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def cache_keys_field(tokens: Mapping[str, str]) -> bytes:
    """Return the field for `tokens` by model: `label="1795…", team="1795…"`.

    A model's name is a valid key and a token holds digits alone, so nothing needs escaping.
    """
    return ", ".join(f'{model}="{token}"' for model, token in tokens.items()).encode("ascii")
