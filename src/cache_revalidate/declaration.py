"""What a route's or a handler's answers depend on, and the decision on a request for one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError, Refused
from cache_revalidate.exchange import CONDITIONAL_METHODS, Exchange
from cache_revalidate.freshness import OwnHeaders, read_freshness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cache_revalidate.access import FindCaller
    from cache_revalidate.endpoints import Answer
    from cache_revalidate.freshness import CachePolicy
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Scope


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
        self._claimant = claimant or f"the handler's {', '.join(policy.models)}"
        self._own_headers = OwnHeaders(usual)

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
            caller = await find_caller()
        except (InvalidTenantError, Refused):
            return None
        if not is_conditional:
            exchange.admit(caller.tenant)
            return None
        freshness = await read_freshness(
            self._revalidator,
            self._policy,
            self._models,
            scope,
            tenant=caller.tenant,
            viewer=caller.viewer,
            own_headers=self._own_headers,
        )
        return exchange.decide(freshness)


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
