"""What one request's answer is validated with: made from tokens that were read before the handler ran."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from cache_revalidate.exceptions import ConfigurationError, StoreError
from cache_revalidate.fingerprint import fingerprint
from cache_revalidate.http.cache_control import CacheControl, checked_cache_control, directive_names
from cache_revalidate.http.cache_keys import cache_keys_field, shown_tokens
from cache_revalidate.http.conditional import if_none_match, weak
from cache_revalidate.http.headers import joined
from cache_revalidate.http.vary import merged_vary, vary_members, vary_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cache_revalidate.bound import Bindings
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import HeaderList, Scope, Tokens, Viewer

DEFAULT_VARY: Final = ("Authorization", "Cookie")

# An app may choose by these, declared or not, and what it chooses between differs in meaning: HTML or JSON, English
# or German. A browser asks with the tag of the one it holds, whatever it wants now.
_NEGOTIATED: Final = (b"accept", b"accept-language")
# The viewer stands for the first two; by the others an answer's bytes or its CORS headers differ, not its meaning.
_NOT_SELECTING: Final = frozenset((b"authorization", b"cookie", b"accept-encoding", b"origin"))

_REMEMBERED_ANSWERS: Final = 4096
_REPEATED: Final = frozenset((b"cache-control", b"vary", b"content-location", b"expires"))

_logger = logging.getLogger("cache_revalidate")


class CachePolicy:
    """How the answers of a declared route are cached: the models they depend on, and the headers they get.

    `vary` names the request headers that tell two viewers, or two forms of the answer, apart: an HTTP cache compares
    those before it compares anything else, and a validator covers their values. Raises `ConfigurationError` for an
    empty list of models or a name that is no header's.
    """

    __slots__ = ("cache_control", "models", "selecting", "vary")

    def __init__(
        self,
        models: Iterable[str],
        *,
        cache_control: CacheControl | None = None,
        vary: Iterable[str] = DEFAULT_VARY,
    ) -> None:
        try:
            self.models: Final = (models,) if isinstance(models, str) else tuple(models)
        except TypeError as error:
            raise ConfigurationError(f'The models are {models!r:.60}, not a list of names: write ["label"].') from error
        self.cache_control: Final = CacheControl() if cache_control is None else checked_cache_control(cache_control)
        self.vary: Final = vary_names(vary)
        names = {*_NEGOTIATED, *map(bytes.lower, self.vary)}
        self.selecting: Final = frozenset(names - _NOT_SELECTING)
        """The request headers, besides those of the viewer, by which answers of different meaning are chosen."""
        if not self.models:
            raise ConfigurationError('A declared route depends on at least one model: write ["label"], say.')

    def uncovered(self, vary: bytes) -> list[bytes]:
        """Return the members of an app's Vary whose values no validator of this policy covers."""
        members = {member.lower() for member in vary_members(vary)}
        return sorted(members - _NOT_SELECTING - self.selecting)


class Asked(NamedTuple):
    """What one request asks for, and who asks: all of a validator but the tokens."""

    tag: str
    """The hash behind which the viewer is."""
    path: str
    query: bytes
    selected: tuple[tuple[bytes, bytes], ...]
    """The headers by which answers of different meaning are chosen."""

    @classmethod
    def of(cls, tag: str, scope: Scope, selecting: Collection[bytes]) -> Asked:
        """Return what the viewer behind `tag` asks for in `scope`, by the headers named in `selecting` too."""
        selected = tuple([(name, value) for name, value in scope["headers"] if name in selecting])
        return cls(tag, scope["path"], scope.get("query_string", b""), selected)

    def entity_tag(self, tokens: Tokens) -> bytes:
        """Return the weak entity tag at these tokens."""
        return _entity_tag(self.tag, tuple(tokens.items()), self.path, self.query, self.selected)


@dataclass(frozen=True, slots=True)
class Freshness:
    """The validator of one request, and all that follows from it for the answer."""

    policy: CachePolicy
    tokens: Tokens
    etag: bytes | None
    """The weak entity tag; None if there are no tokens, so that nothing may be called fresh."""
    own_headers: OwnHeaders
    tenant: str
    asked: Asked

    def bound_to(self, bindings: Bindings) -> Freshness:
        """Return what the answer of a handler is validated with that has bound the snapshots it read from.

        One that has bound nothing read from the primary, whose tokens these are. Else each model of the policy has a
        token in a snapshot, or the answer has no validator.
        """
        if not bindings:
            return self
        tokens = bindings.tokens(self.tenant, self.policy.models)
        if tokens is None:
            if unbound := bindings.unbound(self.tenant, self.policy.models):
                self.own_headers.warn_of_unbound(unbound)
            return replace(self, tokens={}, etag=None)
        return replace(self, tokens=tokens, etag=self.asked.entity_tag(tokens))

    def not_modified_headers(self, if_none_match_field: bytes | None) -> HeaderList | None:
        """Return the headers of the 304 that answers this If-None-Match; None if the handler has to.

        They are those that the 200 would have had (RFC 9110 section 15.4.5).
        """
        if if_none_match_field is None or self.etag is None or not if_none_match(if_none_match_field, self.etag):
            return None
        return self._marked(self.own_headers.recall(self.etag), self.etag)

    def marked(self, own: HeaderList) -> HeaderList:
        """Return the headers of the app's answer with the validator's added; the app's own ones win."""
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
        self._warned_of = {b"*"}
        self._warned_of_unbound = False

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
        if etag not in self._held:
            return list(self._usual)
        self._held.move_to_end(etag)
        return list(self._held[etag])

    def warn_of(self, uncovered: Iterable[bytes]) -> None:
        """Log, once for each, the headers that keep the answers from having a tag (`*` does so on purpose)."""
        for name in uncovered:
            if name not in self._warned_of:
                self._warned_of.add(name)
                header = name.decode("latin-1")
                _logger.warning(
                    "Answers of a declared route vary on %r and get no entity tag, because it is not declared: "
                    "name it in vary=[...], beside what tells two viewers apart.",
                    header,
                )

    def warn_of_unbound(self, models: Iterable[str]) -> None:
        """Log, once, that answers get no tag because a handler binds a part of what they depend on."""
        if not self._warned_of_unbound:
            self._warned_of_unbound = True
            _logger.warning(
                "Answers of a declared route get no entity tag: the handler binds a snapshot, but not for %s of the "
                "tenant in the path. Name all models that the route depends on where you bind it.",
                ", ".join(models),
            )


def _repeated(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(header for header in headers if header[0] in _REPEATED)


async def read_tokens(revalidator: Revalidator, tenant: str, models: tuple[str, ...], scope: Scope) -> Tokens:
    """Return the tokens that a request is answered by; read past what is at hand where its Cache-Keys show newer ones.

    Only for a caller who may see the tenant: whoever shows tokens chooses what the read costs. `Cache-Keys` needs no
    place in Vary (RFC 9110 section 12.5.5): it has the server look harder for what is current, and never selects what
    that is, so whatever it led to is the right answer to a request without it, and its validator the same.
    """
    field = joined(scope["headers"], b"cache-keys")
    shown = shown_tokens(field, models) if field is not None else None
    tokens = revalidator.held(tenant, models, shown)
    return tokens if tokens is not None else await revalidator.read(tenant, models, shown)


async def read_freshness(
    revalidator: Revalidator,
    policy: CachePolicy,
    models: tuple[str, ...],
    scope: Scope,
    *,
    tenant: str,
    viewer: Viewer,
    own_headers: OwnHeaders,
) -> Freshness:
    """Read the tokens and make the validator of one request, before its handler reads any data.

    A store that is away makes a `Freshness` without validator.
    """
    # Now, as a middleware on the way to the handler may rewrite the path.
    asked = Asked.of(revalidator.tag(viewer), scope, policy.selecting)
    try:
        tokens = await read_tokens(revalidator, tenant, models, scope)
    except StoreError:
        return Freshness(policy, {}, None, own_headers, tenant, asked)
    return Freshness(policy, tokens, asked.entity_tag(tokens), own_headers, tenant, asked)


def entity_tag(tag: str, tokens: Tokens, scope: Scope, selecting: Collection[bytes] = ()) -> bytes:
    """Return the weak entity tag, at these tokens, of what the viewer behind `tag` asks for in `scope`.

    A validator belongs to one resource, its path and query, so the tag of a list says nothing of an object that was
    never there; and to what the headers named in `selecting` choose of it (RFC 9110 section 12.1).
    """
    return Asked.of(tag, scope, selecting).entity_tag(tokens)


@lru_cache(maxsize=1024)
def _entity_tag(*parts: object) -> bytes:
    return weak(fingerprint(*parts, size=16))
