"""What one request's answer is validated with: made from tokens that were read before the handler ran."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import ConfigurationError, StoreError
from cache_revalidate.http.cache_control import CacheControl, directive_names
from cache_revalidate.http.cache_keys import cache_keys_field
from cache_revalidate.http.conditional import if_none_match, weak
from cache_revalidate.http.headers import is_token_name, joined
from cache_revalidate.http.vary import merged_vary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import HeaderList, Tokens, Viewer

DEFAULT_VARY: Final = ("Authorization", "Cookie")
_REMEMBERED_ANSWERS: Final = 4096
_REPEATED: Final = frozenset((b"cache-control", b"vary", b"content-location", b"expires"))


class CachePolicy:
    """How the answers of a declared route are cached: the models they depend on, and the headers they get.

    `vary` names the request headers that tell two viewers apart, because an HTTP cache compares those before it
    compares anything else. Raises `ConfigurationError` for an empty list of models or a name that is no header's.
    """

    __slots__ = ("cache_control", "models", "vary")

    def __init__(
        self,
        models: Iterable[str],
        *,
        cache_control: CacheControl | None = None,
        vary: Iterable[str] = DEFAULT_VARY,
    ) -> None:
        self.models: Final = (models,) if isinstance(models, str) else tuple(models)
        self.cache_control: Final = cache_control or CacheControl()
        self.vary: Final = vary_names(vary)
        if not self.models:
            raise ConfigurationError('A declared route depends on at least one model: write ["label"], say.')


@dataclass(frozen=True, slots=True)
class Freshness:
    """The validator of one request, and all that follows from it for the answer."""

    policy: CachePolicy
    tokens: Tokens
    etag: bytes | None
    """The weak entity tag; None if the store was away, so that nothing may be called fresh."""
    own_headers: OwnHeaders

    def not_modified_headers(self, if_none_match_field: bytes | None) -> HeaderList | None:
        """Return the headers of the 304 that answers this If-None-Match; None if the handler has to.

        They are those that the 200 would have had (RFC 9110 section 15.4.5).
        """
        if if_none_match_field is None or self.etag is None or not if_none_match(if_none_match_field, self.etag):
            return None
        return self._marked(self.own_headers.recall(self.etag), self.etag)

    def marked(self, headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
        """Return the headers of the app's 2xx answer with the validator's added; the app's own ones win."""
        own = [(name.lower(), value) for name, value in headers]
        cache_control = joined(own, b"cache-control")
        if self.etag is None:
            return own if cache_control is not None else [*own, (b"cache-control", b"no-store")]
        if cache_control is not None and b"no-store" in directive_names(cache_control):
            return own
        if joined(own, b"etag") is not None:
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
        marked.append((b"cache-keys", cache_keys_field(self.tokens)))
        return marked


class OwnHeaders:
    """What the app itself said of an answer's caching, so that a 304 decided before the handler repeats it.

    Kept by entity tag, and only for answers where the app said anything; the least recently used go first. A
    process that has not sent such a 200 itself repeats what is declared: declare what your handlers would add.
    `usual` are the headers that the framework adds to each answer, known before the first one is sent.
    """

    def __init__(self, usual: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._usual = _repeated(usual)
        self._held: OrderedDict[bytes, tuple[tuple[bytes, bytes], ...]] = OrderedDict()

    def remember(self, etag: bytes, headers: HeaderList) -> None:
        """Keep those of an answer's headers that its 304 has to repeat."""
        if repeated := _repeated(headers):
            self._held[etag] = repeated
            self._held.move_to_end(etag)
            if len(self._held) > _REMEMBERED_ANSWERS:
                self._held.popitem(last=False)
        else:
            self._held.pop(etag, None)

    def recall(self, etag: bytes) -> HeaderList:
        """Return what was kept of the answer that `etag` belongs to."""
        return list(self._held.get(etag, self._usual))


def _repeated(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(header for header in headers if header[0] in _REPEATED)


async def read_freshness(
    revalidator: Revalidator,
    policy: CachePolicy,
    *,
    tenant: str,
    viewer: Viewer,
    target: str,
    own_headers: OwnHeaders,
) -> Freshness:
    """Read the tokens and make the validator of one request, before its handler reads any data.

    `target` is the request's path and query: a validator belongs to one resource, so the tag of a list says
    nothing of an object that was never there. A store that is away makes a `Freshness` without validator.
    """
    try:
        tokens = await revalidator.tokens(tenant, *policy.models)
    except StoreError:
        return Freshness(policy, {}, None, own_headers)
    return Freshness(policy, tokens, entity_tag(revalidator.tag(viewer), target, tokens), own_headers)


def entity_tag(tag: str, target: str, tokens: Tokens) -> bytes:
    """Return the weak entity tag of a target's answer to the viewer behind `tag`, at these tokens."""
    return _entity_tag(tag, target, tuple(tokens.items()))


@lru_cache(maxsize=4096)
def _entity_tag(tag: str, target: str, tokens: tuple[tuple[str, str], ...]) -> bytes:
    # The target comes last: it alone may hold any character, so nothing in it can pass for another part.
    parts = "\n".join((tag, *(f"{model}={token}" for model, token in tokens), "", target))
    return weak(hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())


def vary_names(names: Iterable[str]) -> tuple[bytes, ...]:
    """Return header names as Vary members; raise `ConfigurationError` for what is not a header's name."""
    if isinstance(names, str):
        raise ConfigurationError(f"vary is a list of header names: write vary=[{names!r}].")
    members = tuple(names)
    for name in members:
        if not is_token_name(name):
            raise ConfigurationError(f"{name!r} in vary is not the name of a header.")
    return tuple(name.encode("ascii") for name in members)
