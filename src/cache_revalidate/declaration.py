"""A handler's declaration, for the plugins: made beside the handler, decided within the framework's own chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError
from cache_revalidate.exchange import Exchange
from cache_revalidate.freshness import CachePolicy, OwnHeaders, read_freshness
from cache_revalidate.routing import request_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cache_revalidate.endpoints import Answer
    from cache_revalidate.http.cache_control import CacheControl
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.types import Scope, Viewer


class Declaration:
    """The models that a handler's answers depend on, and what was learnt of those answers.

    `hint` tells what to do where `OutgoingMiddleware`, which marks the answers, was not installed. `usual` are the
    headers that the framework adds to each of the answers. Raises `UnknownModelError` or `ConfigurationError` when
    it is made.
    """

    def __init__(
        self,
        revalidator: Revalidator,
        models: Iterable[str],
        *,
        cache_control: CacheControl | None,
        vary: Iterable[str],
        hint: str,
        usual: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self._policy = CachePolicy(models, cache_control=cache_control, vary=vary)
        revalidator.known_models(self._policy.models)
        self._revalidator = revalidator
        self._own_headers = OwnHeaders(usual)
        self._hint = hint

    def begin(self, scope: Scope) -> Exchange:
        """Return the exchange under way, for this declaration to decide on.

        Raises `ConfigurationError` if there is none, or if another declaration decides already.
        """
        exchange = Exchange.of(scope)
        if exchange is None or exchange.revalidator is not self._revalidator:
            raise ConfigurationError(f"No middleware of this revalidator marks the handler's answer: {self._hint}")
        if exchange.is_conditional:
            exchange.claim(f"the handler's {', '.join(self._policy.models)}")
        return exchange

    async def decide(self, exchange: Exchange, scope: Scope, *, tenant: str, viewer: Viewer) -> Answer | None:
        """Return the 304 for a `viewer` who may see `tenant`; None if the handler has to answer.

        To be awaited before the handler reads any data, so that old rows are never labelled with a new token.
        """
        if not exchange.is_conditional:
            exchange.admit(tenant)
            return None
        freshness = await read_freshness(
            self._revalidator,
            self._policy,
            tenant=tenant,
            viewer=viewer,
            target=request_target(scope),
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
