"""What one answer is validated with: made from tokens that were read before the handler ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache_revalidate.answer import not_modified
from cache_revalidate.fingerprint import fingerprint
from cache_revalidate.http.cache_control import directive_names
from cache_revalidate.http.cache_keys import cache_keys_field
from cache_revalidate.http.conditional import if_none_match, weak
from cache_revalidate.http.headers import joined
from cache_revalidate.http.vary import merged_vary

if TYPE_CHECKING:
    from cache_revalidate.answer import Answer
    from cache_revalidate.bound import Bindings
    from cache_revalidate.own_headers import OwnHeaders
    from cache_revalidate.policy import CachePolicy
    from cache_revalidate.question import Resource
    from cache_revalidate.types import HeaderList, Tokens

# The app's own headers that are more to us than something to be passed on.
_CONCERNING: Final = frozenset((
    *(b"cache-control", b"cache-keys", b"content-location", b"etag", b"expires", b"last-modified", b"vary"),
))  # fmt: skip


def entity_tag(tag: str, tokens: Tokens, resource: Resource) -> bytes:
    """Return the weak entity tag of a resource at these tokens, for the viewer behind `tag`."""
    return weak(fingerprint(tag, tuple(tokens.items()), *resource, size=16))


class Freshness:
    """The validator of what one viewer is answered for one resource at one set of tokens, and all that follows from it.

    `tokens` are None if there are none, so that nothing may be called fresh. It may serve many requests: what it gives
    them are bytes and tuples, and new lists.
    """

    __slots__ = (
        "_added",
        "_cache_keys",
        "_unmodified",
        "etag",
        "own_headers",
        "policy",
        "resource",
        "tag",
        "tenant",
        "tokens",
    )

    def __init__(
        self,
        policy: CachePolicy,
        own_headers: OwnHeaders,
        *,
        tenant: str,
        tag: str,
        resource: Resource,
        tokens: Tokens | None,
    ) -> None:
        self.policy: Final = policy
        self.own_headers: Final = own_headers
        self.tenant: Final = tenant
        self.tag: Final = tag
        self.resource: Final = resource
        self.tokens: Final = tokens
        self.etag: Final = None if tokens is None else entity_tag(tag, tokens, resource)
        self._cache_keys: Final = cache_keys_field(tokens or {})
        # Made when they are first asked for: what is added to an answer whose app says nothing that concerns us, and
        # the 304 beside the app's own headers that it repeats.
        self._added: tuple[tuple[bytes, bytes], ...] | None = None
        self._unmodified: tuple[object, Answer | None] = None, None

    def bound_to(self, bindings: Bindings) -> Freshness:
        """Return what the answer of a handler is validated with that has bound the snapshots it read from.

        One that has bound nothing read from the primary, whose tokens these are. Else each model of the policy has a
        token in a snapshot, or the answer has no validator.
        """
        if not bindings:
            return self
        tokens = bindings.tokens(self.tenant, self.policy.models)
        if tokens is None and (unbound := bindings.unbound(self.tenant, self.policy.models)):
            self.own_headers.warn_of_unbound(unbound)
        return Freshness(
            self.policy, self.own_headers, tenant=self.tenant, tag=self.tag, resource=self.resource, tokens=tokens
        )

    def not_modified(self, if_none_match_field: bytes | None) -> Answer | None:
        """Return the 304 that answers this If-None-Match; None if the handler has to.

        Its headers are those that the 200 would have had (RFC 9110 section 15.4.5).
        """
        if if_none_match_field is None or self.etag is None or not if_none_match(if_none_match_field, self.etag):
            return None
        repeated = self.own_headers.recall(self.etag)
        made_of, answer = self._unmodified
        if answer is None or made_of is not repeated:
            answer = not_modified(self._marked(list(repeated), self.etag))
            self._unmodified = repeated, answer
        return answer

    def marked(self, own: HeaderList) -> HeaderList:
        """Return the headers of the app's answer, in lower case, with the validator's added; the app's own ones win."""
        if self.etag is not None and _CONCERNING.isdisjoint(dict(own)):
            self.own_headers.forget(self.etag)
            if self._added is None:
                self._added = tuple(self._marked([], self.etag))
            return [*own, *self._added]
        cache_control = joined(own, b"cache-control")
        if self.etag is None:
            return own if cache_control is not None else [*own, (b"cache-control", b"no-store")]
        if cache_control is not None and b"no-store" in directive_names(cache_control):
            return own
        if joined(own, b"etag") is not None:
            return self._marked(own, None)
        vary = joined(own, b"vary")
        if vary is not None and (uncovered := self.policy.uncovered(vary)):
            self.own_headers.warn_of(uncovered)
            return self._marked(own, None)
        self.own_headers.remember(self.etag, own)
        # A date beside our tag would be compared in its stead by caches that get the precedence wrong.
        return self._marked([header for header in own if header[0] != b"last-modified"], self.etag)

    def _marked(self, own: HeaderList, etag: bytes | None) -> HeaderList:
        vary = merged_vary(joined(own, b"vary"), self.policy.vary)
        marked = [header for header in own if header[0] not in (b"vary", b"cache-keys")]
        if etag is not None:
            marked.append((b"etag", etag))
        if joined(own, b"cache-control") is None:
            marked.append((b"cache-control", self.policy.cache_control.field))
        if vary is not None:
            marked.append((b"vary", vary))
        marked.append((b"cache-keys", self._cache_keys))
        return marked
