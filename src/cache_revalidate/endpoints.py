"""The keys endpoint's answers, whichever way a request came to it: the middleware's table or a framework's route."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import InvalidTenantError, Refused, StoreError
from cache_revalidate.freshness import DEFAULT_VARY, entity_tag, read_tokens
from cache_revalidate.http.cache_control import CacheControl, checked_cache_control
from cache_revalidate.http.conditional import if_none_match, if_none_match_field
from cache_revalidate.http.problem import problem_details
from cache_revalidate.http.vary import vary_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.access import FindCaller
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import HeaderList, Scope, Send

DEFAULT_KEYS_PATH: Final = "/api/v1/accounts/{account_id:int}/cache_keys"
KEYS_CACHE_CONTROL: Final = CacheControl(max_age=10, stale_while_revalidate=300)
ALLOWED_METHODS: Final = "GET, HEAD"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response: small, made in one piece, sent by whoever asked for it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    async def send(self, send: Send, *, method: str) -> None:
        """Send this over ASGI."""
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": self.body_for(method)})

    def body_for(self, method: str) -> bytes:
        """Return the body: none to a HEAD (RFC 9110 section 9.3.2)."""
        return b"" if method == "HEAD" else self.body


@dataclass
class CacheKeys:
    """What the keys endpoint answers."""

    cache_keys: dict[str, str]
    """The tenant's version tokens by model: what a client holds of a model is current while its token is."""

    tag: str
    """Changes when all that this client holds is stale, whatever the tokens say."""


def not_modified(headers: HeaderList) -> Answer:
    """Return a 304 with these headers."""
    return Answer(304, tuple(headers))


def problem(status: int, detail: str, *extra: tuple[bytes, bytes]) -> Answer:
    """Return an error as problem details, never to be stored."""
    body = problem_details(status, detail)
    return Answer(
        status,
        (
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *extra,
        ),
        body,
    )


def method_not_allowed() -> Answer:
    """Return 405, naming what is allowed."""
    return problem(405, "The cache keys can only be read.", (b"allow", ALLOWED_METHODS.encode("ascii")))


def refusal(refused: Refused) -> Answer:
    """Return 403, or 401 with its challenge where `authorize` gave one; neither says whether the tenant exists."""
    if refused.challenge is None:
        return problem(403, "You may not see this tenant's cache keys.")
    challenge = refused.challenge.encode("latin-1")
    return problem(401, "Sign in to see this tenant's cache keys.", (b"www-authenticate", challenge))


class KeysEndpoint:
    """Answers with the tokens of one tenant; `cache_control` and `vary` are headers of the answer.

    Raises `ConfigurationError` when it is made, if one of these can't be a header.
    """

    def __init__(
        self,
        revalidator: Revalidator,
        *,
        cache_control: CacheControl = KEYS_CACHE_CONTROL,
        vary: Iterable[str] = DEFAULT_VARY,
    ) -> None:
        self._revalidator = revalidator
        self._headers: HeaderList = [(b"cache-control", checked_cache_control(cache_control).field)]
        if members := vary_names(vary):
            self._headers.append((b"vary", b", ".join(members)))

    async def answer(self, scope: Scope, find_caller: FindCaller) -> Answer:
        """Return 200 or 304 for a caller who may see the tenant, else 401, 403 or 404; 503 if the store is away.

        The body is that of `CacheKeys`: `{"cache_keys": {"label": "…"}, "tag": "…"}`.
        """
        try:
            caller = await find_caller()
            tokens = await read_tokens(self._revalidator, caller.tenant, self._revalidator.models, scope)
        except InvalidTenantError as error:
            return problem(404, str(error))
        except Refused as refused:
            return refusal(refused)
        except StoreError:
            return problem(
                503,
                "The store of version tokens does not answer: take what you hold for stale.",
                (b"retry-after", b"1"),
            )
        tag = self._revalidator.tag(caller.viewer)
        etag = entity_tag(tag, tokens, scope)
        headers: HeaderList = [(b"etag", etag), *self._headers]
        field = if_none_match_field(scope["headers"])
        if field is not None and if_none_match(field, etag):
            return not_modified(headers)
        body = json.dumps({"cache_keys": tokens, "tag": tag}, separators=(",", ":")).encode("ascii")
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        return Answer(200, tuple(headers), body)
