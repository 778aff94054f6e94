"""What one request asks, as far as the library's answer depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from cache_revalidate.http.cache_keys import shown_tokens
from cache_revalidate.http.request_fields import RequestFields

if TYPE_CHECKING:
    from collections.abc import Collection

    from cache_revalidate.types import Scope, Tokens

Resource: TypeAlias = tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]
"""A path, a query, and the headers by which answers of different meaning are chosen.

A validator belongs to one resource, so the tag of a list says nothing of an object that was never there; and to what
the headers choose of it (RFC 9110 section 12.1).
"""


Question: TypeAlias = "tuple[bytes | None, Tokens | None, Resource]"
"""What one request asks: its If-None-Match, the tokens of the models at stake that it shows, and the resource.

The first is None also where the app has to judge another precondition first. A bare tuple, as one is made a request.
"""


class Questions:
    """Reads what requests ask of a resource that depends on `models`, chosen by the headers named in `selecting`.

    Only the requests of callers who may see the tenant are read: whoever shows a newer token has the store asked.
    `Cache-Keys` needs no place in Vary (RFC 9110 section 12.5.5): it has the server look harder for what is current,
    and never selects what that is, so what it led to is the right answer to a request without it, with its validator.
    """

    __slots__ = ("_fields", "_models")

    def __init__(self, models: Collection[str], selecting: Collection[bytes] = ()) -> None:
        self._models = models
        self._fields = RequestFields(selecting)

    def of(self, scope: Scope) -> Question:
        """Return what is asked in `scope`, as it is now: a middleware on the way to the handler may rewrite it."""
        if_none_match, cache_keys, selected = self._fields.find(scope["headers"])
        shown = None if cache_keys is None else shown_tokens(cache_keys, self._models)
        return if_none_match, shown, (scope["path"], scope.get("query_string", b""), selected)


_LINE: Final = 64
"""What a header takes in memory, at least, however short it is, in bytes."""


def length(resource: Resource) -> int:
    """Return how long the parts of a resource are together, in characters and bytes, with what each header takes."""
    path, query, selected = resource
    return len(path) + len(query) + sum(_LINE + len(name) + len(value) for name, value in selected)
