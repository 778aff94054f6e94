"""One request and its answer: where the decision of middleware or framework meets the outgoing headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from cache_revalidate.bound import Bindings, collect_bound
from cache_revalidate.endpoints import not_modified
from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.cache_keys import cache_keys_field
from cache_revalidate.http.conditional import if_none_match, if_none_match_field
from cache_revalidate.http.headers import joined
from cache_revalidate.minted import collect_minted

if TYPE_CHECKING:
    from cache_revalidate.endpoints import Answer
    from cache_revalidate.freshness import Freshness
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import ASGIApp, HeaderList, Message, Receive, Scope, Send, Tokens

SCOPE_KEY: Final = "cache_revalidate"
CONDITIONAL_METHODS: Final = frozenset(("GET", "HEAD"))
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

# What an answer's body is sent as; the latter by servers that take a file's path.
_PARTS: Final = frozenset(("http.response.body", "http.response.pathsend"))

MaySee = Callable[[str], Awaitable[bool]]


class Exchange:
    """What is known of one request, for as long as it takes.

    `tenant` is the one that the path names, if it names one. `may_see` says whether the caller may see a tenant;
    it is asked before the answer to a write names the tokens that the write minted.
    """

    def __init__(
        self, revalidator: Revalidator, scope: Scope, *, tenant: str | None = None, may_see: MaySee | None = None
    ) -> None:
        self.revalidator: Final = revalidator
        self.method: Final[str] = scope["method"]
        self.if_none_match: Final = if_none_match_field(scope["headers"])
        self._tenant = tenant
        self._may_see = may_see
        self._admitted: str | None = None
        self._freshness: Freshness | None = None
        self._minted: dict[str, Tokens] = {}
        self._bindings = Bindings()
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

    def decide(self, freshness: Freshness) -> Answer | None:
        """Return the 304 that answers this request, or None: then the answer to come is marked instead."""
        headers = freshness.not_modified_headers(self.if_none_match)
        if headers is not None:
            return not_modified(headers)
        self._freshness = freshness
        return None

    def withdraw(self) -> None:
        """Have the answer to come left unmarked: the handler failed, and an error's answer is not the resource."""
        self._freshness = None

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the app answer, and mark its answer on the way out."""
        if scope.get(SCOPE_KEY) is self:
            await app(scope, receive, send)
            return
        outer = scope.get(SCOPE_KEY)
        # In the scope itself, not in a copy: what is further out may look there for what the app puts into it, as
        # Litestar's before_send hooks do, one of which commits the database session that it finds there. Taken back
        # afterwards, for whoever runs the app again with this scope.
        scope[SCOPE_KEY] = self
        try:
            await self._run(app, scope, receive, _Outgoing(self, send).send)
        finally:
            scope[SCOPE_KEY] = outer

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_conditional:
            with collect_bound(self.revalidator) as self._bindings:
                await app(scope, receive, send)
        elif self.method in SAFE_METHODS:
            await app(scope, receive, send)
        else:
            with collect_minted(self.revalidator) as self._minted:
                await app(scope, receive, send)

    async def marked(self, status: int, headers: HeaderList) -> HeaderList:
        """Return the headers of the app's answer, marked as its method and status ask for."""
        own = [(name.lower(), value) for name, value in headers]
        if self._freshness is not None and (_is_success(status) or _is_own_not_modified(status, own)):
            freshness = self._freshness.bound_to(self._bindings)
            if freshness.etag is not None:
                self._bindings.seal()
            return freshness.marked(own)
        if (tokens := await self._shown_minted()) and joined(own, b"cache-keys") is None:
            return [*headers, (b"cache-keys", cache_keys_field(tokens))]
        return headers

    def complete(self) -> None:
        """Note that the last part of the answer is sent."""
        self._bindings.unseal()

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


class _Outgoing:
    """Sends the app's messages on, its first one marked; never holds back a body."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._drops_body = False

    async def send(self, message: Message) -> None:
        """Send a message of the app's on."""
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        if not self._drops_body:
            await self._send(message)
        if message["type"] in _PARTS and not message.get("more_body", False):
            self._exchange.complete()

    async def _start(self, message: Message) -> None:
        status = message["status"]
        headers = await self._exchange.marked(status, [(name, value) for name, value in message.get("headers", ())])
        if self._is_own_match(status, headers):
            self._drops_body = True
            kept = [header for header in headers if not _describes_content(header[0])]
            await not_modified(kept).send(self._send, method=self._exchange.method)
        else:
            await self._send({**message, "headers": headers})

    def _is_own_match(self, status: int, headers: HeaderList) -> bool:
        """Say whether the app's own entity tag is the one that the client holds."""
        exchange = self._exchange
        if status != 200 or exchange.if_none_match is None or not exchange.is_declared:  # noqa: PLR2004
            return False
        etag = joined(headers, b"etag")
        return etag is not None and if_none_match(exchange.if_none_match, etag)


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def _is_own_not_modified(status: int, headers: HeaderList) -> bool:
    """Say whether the app has itself found that the client holds its own tag, and not merely one of ours."""
    return status == 304 and joined(headers, b"etag") is not None  # noqa: PLR2004


def _describes_content(name: bytes) -> bool:
    return name.startswith(b"content-") and name != b"content-location"
