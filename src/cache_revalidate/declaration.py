"""What a route's or a handler's answers depend on, and the decision on a request for one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from cache_revalidate.answer import Answer
from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError, Refused, StoreError
from cache_revalidate.exchange import CONDITIONAL_METHODS, Exchange
from cache_revalidate.freshness import Freshness
from cache_revalidate.memo import Memo
from cache_revalidate.own_headers import OwnHeaders
from cache_revalidate.question import Questions, length
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cache_revalidate.access import FindCaller
    from cache_revalidate.policy import CachePolicy
    from cache_revalidate.question import Resource
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Scope, Tokens, Viewer

Decision: TypeAlias = Answer | Freshness
"""The 304 that answers a request; or what the app's answer is to be marked with."""


class Declaration:
    """A `CachePolicy` at work: for one revalidator, with what was learnt of the answers.

    `claimant` is how messages call it; None names its models. `usual` are the headers that a framework adds to each
    of the answers. Raises `UnknownModelError` when it is made.
    """

    def __init__(
        self,
        revalidator: Revalidator,
        policy: CachePolicy,
        *,
        claimant: str | None = None,
        usual: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self._models = revalidator.known_models(policy.models)
        self._revalidator = revalidator
        self._policy = policy
        self._questions = Questions(self._models, policy.selecting)
        self._own_headers = OwnHeaders(usual)
        self._claimant = claimant or f"the handler's {', '.join(policy.models)}"

    def begun(self, scope: Scope, *, hint: str) -> Exchange:
        """Return the exchange that `OutgoingMiddleware`, which marks the answers, has begun for this request.

        Raises `ConfigurationError`, with a `hint` at what to do, if it is not installed.
        """
        exchange = Exchange.of(scope)
        if exchange is None or exchange.revalidator is not self._revalidator:
            raise ConfigurationError(f"No middleware of this revalidator marks the handler's answer: {hint}")
        return exchange

    async def decide(self, exchange: Exchange, scope: Scope, find_caller: FindCaller) -> Answer | None:
        """Return the 304 for a caller who may see the tenant; None if the handler has to answer.

        To be awaited before the handler reads any data, so that old rows are never labelled with a new token.
        Raises `ConfigurationError` if another declaration decides on this request, too.
        """
        # The method is asked for anew: a middleware in between may have made another one of it.
        is_conditional = exchange.is_conditional and scope["method"] in CONDITIONAL_METHODS
        if is_conditional:
            exchange.claim(self, self._claimant)
        try:
            tenant, viewer = await find_caller()
        except (InvalidTenantError, Refused):
            return None
        if not is_conditional:
            exchange.admit(tenant)
            return None
        decision = self.decide_at_once(scope, tenant, viewer) or await self.decide_by_store(scope, tenant, viewer)
        if isinstance(decision, Answer):
            return decision
        exchange.expect(decision)
        return None

    def refusal(self, refused: Refused | InvalidTenantError) -> None:  # noqa: ARG002
        """Return no answer of our own: what is refused is the app's to answer, unmarked."""
        return

    def exchange(self, scope: Scope, freshness: Freshness) -> Exchange:
        """Begin an exchange in which the app's answer is marked."""
        exchange = Exchange(self._revalidator, scope)
        exchange.claim(self, self._claimant)
        exchange.expect(freshness)
        return exchange

    def decide_at_once(self, scope: Scope, tenant: str, viewer: Viewer) -> Decision | None:
        """Return the decision on a GET or HEAD of a caller who may see the tenant; None if it takes the store."""
        if_none_match, shown, resource = self._questions.of(scope)
        tokens = self._revalidator.held(tenant, self._models, shown)
        if tokens is None:
            return None
        freshness = self._freshness(tenant, viewer, resource, tokens)
        return freshness.not_modified(if_none_match) or freshness

    async def decide_by_store(self, scope: Scope, tenant: str, viewer: Viewer) -> Decision:
        """Return the decision once the store has answered; one that is away leaves the answer without validator."""
        if_none_match, shown, resource = self._questions.of(scope)
        try:
            tokens = await self._revalidator.read(tenant, self._models, shown)
        except StoreError:
            return self._made(tenant, viewer, resource, None)
        freshness = self._freshness(tenant, viewer, resource, tokens)
        return freshness.not_modified(if_none_match) or freshness

    def _freshness(self, tenant: str, viewer: Viewer, resource: Resource, tokens: Tokens) -> Freshness:
        """Return what follows from `tokens`: what was worked out last, if they are still the same."""
        key = (self, None if viewer is EVERYONE else viewer, tenant, resource)
        freshness = _latest.get(key)
        if freshness is None or freshness.tokens != tokens:
            freshness = self._made(tenant, viewer, resource, tokens)
            if length(resource) <= _LONGEST_KEPT:
                _latest.put(key, freshness)
        return freshness

    def _made(self, tenant: str, viewer: Viewer, resource: Resource, tokens: Tokens | None) -> Freshness:
        return Freshness(
            self._policy,
            self._own_headers,
            tenant=tenant,
            tag=self._revalidator.tag(viewer),
            resource=resource,
            tokens=tokens,
        )


# By declaration, viewer (None for everyone), tenant and resource. One for all declarations of a process, so that their
# number does not multiply what it holds: about 10 MB, as what callers make long is not kept.
_latest: Final[Memo[tuple[Declaration, str | None, str, Resource], Freshness]] = Memo(8192)
_LONGEST_KEPT: Final = 1024


def path_tenant(
    revalidator: Revalidator, path_params: Mapping[str, object], name: str, convert: Callable[[str], object] = str
) -> str:
    """Return the canonical tenant that a matched path names; `convert` makes the tenant's value of a string.

    Raises `InvalidTenantError` if the value can't be a tenant, and `ConfigurationError` if the path has no
    parameter of that `name`, or one that may be spelled in several ways that mean one tenant.
    """
    if name not in path_params:
        raise ConfigurationError(
            f"The path of this route has no parameter {name!r}, from which the tenant is taken: add it to the path, "
            "or name the one that is the tenant, as in tenant='workspace_id'."
        )
    value = path_params[name]
    if isinstance(value, str):
        try:
            value = convert(value)
        except ValueError as error:
            raise InvalidTenantError("The tenant in this path is not valid.") from error
    if isinstance(value, str) and revalidator.has_default_canonical:
        raise ConfigurationError(
            f"The tenant {name!r} is a string, of which several may mean one tenant ('01' and '1'): let the path make "
            "an int or a UUID of it, or give Revalidator(canonical=...) the function that makes it canonical."
        )
    return revalidator.tenant(value)
