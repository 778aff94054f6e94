"""One request and its answer: where the decision of middleware or framework meets the headers of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from cache_revalidate.bound import collect_bound
from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.cache_keys import cache_keys_field
from cache_revalidate.http.conditional import if_none_match
from cache_revalidate.http.headers import joined
from cache_revalidate.http.request_fields import RequestFields
from cache_revalidate.minted import collect_minted

if TYPE_CHECKING:
    from cache_revalidate.bound import Bindings
    from cache_revalidate.freshness import Freshness
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import HeaderList, Scope, Tokens

SCOPE_KEY: Final = "cache_revalidate"
CONDITIONAL_METHODS: Final = frozenset(("GET", "HEAD"))
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

MaySee = Callable[[str], Awaitable[bool]]

_fields: Final = RequestFields()


class Exchange:
    """What is known of one request, for as long as it takes.

    `tenant` is the one that the path names, if it names one. `may_see` says whether the caller may see a tenant;
    it is asked before the answer to a write names the tokens that the write minted.
    """

    __slots__ = (
        *("_admitted", "_bindings", "_claims", "_freshness", "_headers", "_may_see", "_minted", "_tenant"),
        *("method", "revalidator"),
    )

    def __init__(
        self, revalidator: Revalidator, scope: Scope, *, tenant: str | None = None, may_see: MaySee | None = None
    ) -> None:
        self.revalidator: Final = revalidator
        self.method: Final[str] = scope["method"]
        self._headers = scope["headers"]
        self._tenant = tenant
        self._may_see = may_see
        self._admitted: str | None = None
        self._freshness: Freshness | None = None
        self._minted: dict[str, Tokens] = {}
        self._bindings: Bindings | None = None
        outer = self.of(scope)
        self._claims: dict[object, str] = outer._claims if outer else {}

    @classmethod
    def begun(
        cls, revalidator: Revalidator, scope: Scope, *, tenant: str | None = None, may_see: MaySee | None = None
    ) -> Exchange:
        """Return the exchange that a middleware further out has begun for this revalidator, else a new one."""
        exchange = cls.of(scope)
        if exchange is None or exchange.revalidator is not revalidator:
            return cls(revalidator, scope, tenant=tenant, may_see=may_see)
        exchange._tenant = exchange._tenant or tenant
        exchange._may_see = exchange._may_see or may_see
        return exchange

    @classmethod
    def of(cls, scope: Scope) -> Exchange | None:
        """Return the exchange under way for this request, if there is one."""
        found = scope.get(SCOPE_KEY)
        return found if isinstance(found, cls) else None

    @property
    def is_conditional(self) -> bool:
        """Whether the method is one that a 304 can answer (RFC 9110 section 13.1.2)."""
        return self.method in CONDITIONAL_METHODS

    @property
    def is_safe(self) -> bool:
        """Whether the method is one that writes nothing (RFC 9110 section 9.2.1)."""
        return self.method in SAFE_METHODS

    @property
    def is_declared(self) -> bool:
        """Whether the answer to come is that of a declared route, to a caller who may see it."""
        return self._freshness is not None

    def claim(self, owner: object, name: str) -> None:
        """Say who decides on this request, under what name; raise `ConfigurationError` if somebody else does already.

        One `owner` may do so again: for a middleware in between that runs the handler a second time.
        """
        self._claims[owner] = name
        if len(self._claims) > 1:
            raise ConfigurationError(
                f"This request is declared twice, by {' and by '.join(self._claims.values())}: two validators for one "
                "answer would contradict each other. Keep one of the declarations."
            )

    def admit(self, tenant: str) -> None:
        """Note that the framework has let the caller see `tenant`."""
        self._tenant = self._admitted = tenant

    def expect(self, freshness: Freshness) -> None:
        """Have the answer to come marked: it is that of a declared route, to a caller who may see it."""
        self._freshness = freshness

    def withdraw(self) -> None:
        """Have the answer to come left unmarked: the handler failed, and an error's answer is not the resource."""
        self._freshness = None

    def recorded(self) -> AbstractContextManager[object]:
        """Return the block in which the app runs: what it binds for a read, or mints in a write, is recorded."""
        if self.is_conditional:
            binding = collect_bound(self.revalidator)
            self._bindings = binding.record
            return binding
        if self.is_safe:
            return nullcontext()
        minting = collect_minted(self.revalidator)
        self._minted = minting.record
        return minting

    def marked(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
        """Return the headers of the app's answer: marked, if it is that of a declared route and a success."""
        if self._freshness is not None:
            own = [(name.lower(), value) for name, value in headers]
            if _is_success(status) or _is_own_not_modified(status, own):
                return self._bound(self._freshness).marked(own)
        return [(name, value) for name, value in headers]

    async def naming_minted(self, headers: HeaderList) -> HeaderList:
        """Return the headers of an answer to a write, with the tokens that it minted, if they may be seen."""
        tokens = await self._shown_minted()
        if not tokens or any(name.lower() == b"cache-keys" for name, _ in headers):
            return headers
        return [*headers, (b"cache-keys", cache_keys_field(tokens))]

    def holds(self, status: int, headers: HeaderList) -> bool:
        """Say whether the client holds what a declared route has answered, by the entity tag in its `headers`.

        It may be one of the app's own, or that of a snapshot which the handler has bound. The one that was expected is
        none that the client holds: that was seen before the handler ran.
        """
        if self._freshness is None or status != 200 or (b"etag", self._freshness.etag) in headers:  # noqa: PLR2004
            return False
        etag = joined(headers, b"etag")
        if_none_match_field, _, _ = _fields.find(self._headers)
        return etag is not None and if_none_match_field is not None and if_none_match(if_none_match_field, etag)

    def complete(self) -> None:
        """Note that the last part of the answer is sent."""
        if self._bindings is not None:
            self._bindings.unseal()

    def _bound(self, freshness: Freshness) -> Freshness:
        if self._bindings is None:
            return freshness
        bound = freshness.bound_to(self._bindings)
        if bound.etag is not None:
            self._bindings.seal()
        return bound

    async def _shown_minted(self) -> Tokens:
        """Return the tokens that this write minted of the path's tenant, else of its only one, if they may be seen."""
        if not self._minted:
            return {}
        tenant = self._tenant
        if tenant is None and len(self._minted) == 1:
            (tenant,) = self._minted
        if tenant is None or tenant not in self._minted:
            return {}
        if tenant == self._admitted or (self._may_see is not None and await self._may_see(tenant)):
            return self._minted[tenant]
        return {}


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def _is_own_not_modified(status: int, headers: HeaderList) -> bool:
    """Say whether the app has itself found that the client holds its own tag, and not merely one of ours."""
    return status == 304 and joined(headers, b"etag") is not None  # noqa: PLR2004
