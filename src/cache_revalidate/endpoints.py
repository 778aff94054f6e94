"""The keys endpoint's answers, whichever way a request came to it: the middleware's table or a framework's route."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from cache_revalidate.answer import Answer, not_modified, problem
from cache_revalidate.exceptions import InvalidTenantError, Refused, StoreError
from cache_revalidate.freshness import entity_tag
from cache_revalidate.http.cache_control import CacheControl, checked_cache_control
from cache_revalidate.http.conditional import if_none_match
from cache_revalidate.http.vary import vary_names
from cache_revalidate.memo import Memo
from cache_revalidate.policy import DEFAULT_VARY
from cache_revalidate.question import Questions, length
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.access import FindCaller
    from cache_revalidate.question import Resource
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import HeaderList, Scope, Tokens, Viewer

DEFAULT_KEYS_PATH: Final = "/api/v1/accounts/{account_id:int}/cache_keys"
KEYS_CACHE_CONTROL: Final = CacheControl(max_age=10, stale_while_revalidate=300)
ALLOWED_METHODS: Final = "GET, HEAD"

# Of what was answered last, by viewer and resource; what callers make long is not kept.
_MOST_KEPT: Final = 4096
_LONGEST_KEPT: Final = 1024


@dataclass
class CacheKeys:
    """What the keys endpoint answers."""

    cache_keys: dict[str, str]
    """The tenant's version tokens by model: what a client holds of a model is current while its token is."""

    tag: str
    """Changes when all that this client holds is stale, whatever the tokens say."""


class _Answers(NamedTuple):
    """What one viewer is answered at one set of tokens."""

    tokens: Tokens
    etag: bytes
    full: Answer
    unmodified: Answer


class AnsweredRefused(Refused):
    """Refuses a caller whom the app itself has answered already: that answer is given to them."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer: Final = answer


def method_not_allowed() -> Answer:
    """Return 405, naming what is allowed."""
    return problem(405, "The cache keys can only be read.", (b"allow", ALLOWED_METHODS.encode("ascii")))


def refusal(refused: Refused | InvalidTenantError) -> Answer:
    """Return 403, or 401 with its challenge where `authorize` gave one; neither says whether the tenant exists.

    404 where there can be no such tenant, and what the app has answered where it has.
    """
    if isinstance(refused, AnsweredRefused):
        return refused.answer
    if isinstance(refused, InvalidTenantError):
        return problem(404, str(refused))
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
        self._questions = Questions(revalidator.models)
        self._latest: Memo[tuple[str | None, Resource], _Answers] = Memo(_MOST_KEPT)
        self._headers: HeaderList = [(b"cache-control", checked_cache_control(cache_control).field)]
        if members := vary_names(vary):
            self._headers.append((b"vary", b", ".join(members)))

    async def answer(self, scope: Scope, find_caller: FindCaller) -> Answer:
        """Return 200 or 304 for a caller who may see the tenant, else 401, 403 or 404; 503 if the store is away.

        The body is that of `CacheKeys`: `{"cache_keys": {"label": "…"}, "tag": "…"}`.
        """
        try:
            tenant, viewer = await find_caller()
        except (InvalidTenantError, Refused) as refused:
            return self.refusal(refused)
        return self.decide_at_once(scope, tenant, viewer) or await self.decide_by_store(scope, tenant, viewer)

    def refusal(self, refused: Refused | InvalidTenantError) -> Answer:
        """Return what a caller is answered who may not see the tenant."""
        return refusal(refused)

    def decide_at_once(self, scope: Scope, tenant: str, viewer: Viewer) -> Answer | None:
        """Return the answer to a GET or HEAD of a caller who may see the tenant; None if it takes the store."""
        field, shown, resource = self._questions.of(scope)
        tokens = self._revalidator.held(tenant, self._revalidator.models, shown)
        return None if tokens is None else self._answer(viewer, resource, tokens, field)

    async def decide_by_store(self, scope: Scope, tenant: str, viewer: Viewer) -> Answer:
        """Return the answer once the store has answered, or fails to."""
        field, shown, resource = self._questions.of(scope)
        try:
            tokens = await self._revalidator.read(tenant, self._revalidator.models, shown)
        except StoreError:
            return problem(
                503,
                "The store of version tokens does not answer: take what you hold for stale.",
                (b"retry-after", b"1"),
            )
        return self._answer(viewer, resource, tokens, field)

    def _answer(self, viewer: Viewer, resource: Resource, tokens: Tokens, field: bytes | None) -> Answer:
        key = (None if viewer is EVERYONE else viewer, resource)
        answers = self._latest.get(key)
        if answers is None or answers.tokens != tokens:
            answers = self._made(resource, self._revalidator.tag(viewer), tokens)
            if length(resource) <= _LONGEST_KEPT:
                self._latest.put(key, answers)
        is_current = field == answers.etag or (field is not None and if_none_match(field, answers.etag))
        return answers.unmodified if is_current else answers.full

    def _made(self, resource: Resource, tag: str, tokens: Tokens) -> _Answers:
        etag = entity_tag(tag, tokens, resource)
        headers: HeaderList = [(b"etag", etag), *self._headers]
        body = json.dumps({"cache_keys": tokens, "tag": tag}, separators=(",", ":")).encode("ascii")
        of_body = (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))
        return _Answers({**tokens}, etag, Answer(200, (*headers, *of_body), body), not_modified(headers))
