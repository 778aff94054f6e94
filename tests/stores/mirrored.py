"""What tests of mirrored stores have in common: to wait until a tenant is mirrored, or something has come true."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from cache_revalidate import Keyspace, StoreError
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.types import Tokens

MODELS = ("label",)

BELIEVED_FOR = 3.0
"""Seconds for which a store believes that silence means that nothing has happened."""

SOON = 30.0
"""Seconds within which something is bound to have happened, on a busy machine."""


async def until(condition: Callable[[], object], what: str, within: float = SOON) -> float:
    """Wait until a condition holds, looking often; return how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + within, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.002)
    return time.monotonic() - started


async def until_answered(question: Callable[[], Awaitable[object]], what: str, within: float = SOON) -> float:
    """Do the same with a condition that has to be asked for, and may fail."""
    started = time.monotonic()
    while True:
        try:
            if await question():
                return time.monotonic() - started
        except StoreError:
            pass
        assert time.monotonic() < started + within, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.01)


class Mirrored:
    """A store, a keyspace whose tenants it mirrors, and what it answers of them."""

    def __init__(self, store: RedisStore, keyspace: Keyspace) -> None:
        self.store = store
        self.keyspace = keyspace

    def held(self, tenant: str = "1", models: Sequence[str] = MODELS) -> Tokens | None:
        """Return what is at hand."""
        return self.store.held(self.keyspace, tenant, models)

    async def look(self, tenant: str = "1", models: Sequence[str] = MODELS) -> Tokens:
        """Return what is at hand, or else what Redis holds."""
        held = self.held(tenant, models)
        return await self.store.read(self.keyspace, tenant, models) if held is None else held

    async def warm(self, *tenants: str, models: Sequence[str] = MODELS, within: float = SOON) -> float:
        """Look until all tenants are mirrored; return how many seconds that took."""
        started = time.monotonic()
        for tenant in tenants or ("1",):

            async def is_held(tenant: str = tenant) -> bool:
                await self.look(tenant, models)
                return self.held(tenant, models) is not None

            await until_answered(is_held, f"tenant {tenant} is mirrored", within)
        return time.monotonic() - started

    async def bump(self, tenant: str = "1", models: Sequence[str] = MODELS) -> Tokens:
        """Bump, through this store."""
        return (await self.store.bump(self.keyspace, {tenant: models}))[tenant]
