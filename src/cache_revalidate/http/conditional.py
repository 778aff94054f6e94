"""Entity tags and If-None-Match (RFC 9110 sections 8.8.3 and 13.1.2)."""

from __future__ import annotations

import re
from typing import Final

MAX_IF_NONE_MATCH: Final = 16 * 1024
"""The longest If-None-Match that is read, in bytes; a longer one matches nothing, so the handler runs."""

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE: a comma or an odd byte between the quotes belongs to the tag.
_entity_tag = re.compile(rb'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_separator = re.compile(rb"[ \t]*,[ \t,]*")
_edges = b" \t,"


def weak(opaque: str) -> bytes:
    """Return the weak entity tag around `opaque`, as it stands in an ETag field."""
    return b'W/"%s"' % opaque.encode("ascii")


def opaque_tag(etag: bytes) -> bytes | None:
    """Return what stands between an entity tag's quotes, or None if `etag` is not one."""
    match = _entity_tag.fullmatch(etag.strip(b" \t"))
    return match[1] if match else None


def if_none_match(field: bytes, etag: bytes) -> bool:
    """Say whether `etag` is listed in an If-None-Match field, by weak comparison (section 8.8.3.2).

    `field` is the whole field, repeated lines joined by commas. `*` asks whether anything exists at all, which
    only the app knows: it never matches here. Neither does a list with a malformed member, whatever else it
    holds: what can't be read must not lead to a 304.
    """
    if field == etag:
        return True
    wanted = opaque_tag(etag)
    return wanted is not None and wanted in _opaque_tags(field)


def _opaque_tags(field: bytes) -> set[bytes]:
    if len(field) > MAX_IF_NONE_MATCH:
        return set()
    field = field.strip(_edges)
    found: set[bytes] = set()
    position = 0
    while position < len(field):
        member = _entity_tag.match(field, position)
        if member is None:
            return set()
        found.add(member[1])
        position = member.end()
        separator = _separator.match(field, position)
        if separator is None and position < len(field):
            return set()
        position = separator.end() if separator else position
    return found
