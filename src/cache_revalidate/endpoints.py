"""The keys endpoint's answers, whichever way a request came to it: the middleware's table or a framework's route."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import Refused, StoreError
from cache_revalidate.freshness import DEFAULT_VARY, entity_tag, vary_names
from cache_revalidate.http.cache_control import CacheControl
from cache_revalidate.http.conditional import if_none_match
from cache_revalidate.http.problem import problem_details

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import HeaderList, Send, Viewer

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
        """Send this over ASGI; to a HEAD without the body (RFC 9110 section 9.3.2)."""
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else self.body})


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


async def keys_answer(
    revalidator: Revalidator,
    *,
    tenant: str,
    viewer: Viewer,
    target: str,
    if_none_match_field: bytes | None,
    cache_control: CacheControl = KEYS_CACHE_CONTROL,
    vary: Iterable[str] = DEFAULT_VARY,
) -> Answer:
    """Return the tokens of `tenant` for a `viewer` who may see it: 200, 304, or 503 if the store is away.

    The body is `{"cache_keys": {"label": "…"}, "tag": "…"}`; `target` is the request's path and query, and
    `if_none_match_field` its If-None-Match, None if there is none.
    """
    try:
        tokens = await revalidator.tokens(tenant)
    except StoreError:
        return problem(
            503,
            "The store of version tokens does not answer: take what you hold for stale.",
            (b"retry-after", b"1"),
        )
    tag = revalidator.tag(viewer)
    etag = entity_tag(tag, target, tokens)
    headers: HeaderList = [(b"etag", etag), (b"cache-control", cache_control.field)]
    if members := vary_names(vary):
        headers.append((b"vary", b", ".join(members)))
    if if_none_match_field is not None and if_none_match(if_none_match_field, etag):
        return not_modified(headers)
    body = json.dumps({"cache_keys": tokens, "tag": tag}, separators=(",", ":")).encode("ascii")
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return Answer(200, tuple(headers), body)
