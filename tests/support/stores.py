"""Stores that tests put into a state which real ones are rarely in."""

from collections.abc import Sequence

from cache_revalidate import Keyspace, MemoryStore
from cache_revalidate.types import Tokens


class LaggingStore(MemoryStore):
    """A store whose process holds copies that lag behind, as those of another worker's bumps may."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: dict[str, Tokens] = {}
        """Each tenant's tokens by model, as this process believes them; tenants that are not in it don't lag."""
        self.shown: list[Tokens] = []
        """What was shown by those who were answered past the copies."""

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the copies."""
        if tenant not in self.copies:
            return super().held(keyspace, tenant, models)
        return {model: self.copies[tenant][model] for model in models}

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the copies."""
        if tenant not in self.copies:
            return await super().read(keyspace, tenant, models)
        return {model: self.copies[tenant][model] for model in models}

    async def read_past(self, keyspace: Keyspace, tenant: str, models: Sequence[str], shown: Tokens) -> Tokens:
        """Return what is true, whatever the copies say."""
        self.shown.append(shown)
        return await super().read(keyspace, tenant, models)
