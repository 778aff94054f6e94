"""A store that remembers nothing, so nothing is ever fresh: for tests, and to switch caching off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache_revalidate.stores.base import Keyspace, Store
from cache_revalidate.token import new_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache_revalidate.types import Changes, Tokens


class NullStore(Store):
    """Every read mints new tokens: no request is ever answered 304, and every client refetches."""

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:  # noqa: ARG002
        """Return tokens that nobody has seen before."""
        return {model: new_token() for model in models}

    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Return new tokens and forget them."""
        return self.bump_sync(keyspace, changes)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:  # noqa: ARG002
        """Return new tokens and forget them."""
        return {tenant: {model: new_token() for model in models} for tenant, models in changes.items()}
