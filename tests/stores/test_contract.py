"""The contract that every store keeps, with the stores that the library ships."""

from collections.abc import AsyncIterator
from typing import ClassVar, Literal

import fakeredis
import pytest

from cache_revalidate import MemoryStore, NullStore, Store
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.testing import CopyContract, StoreContract
from tests.support.servers import RedisServer


class TestNullStore(StoreContract):
    """The store that remembers nothing."""

    remembers = False

    @pytest.fixture
    def store(self) -> Store:
        """Give a null store."""
        return NullStore()


class TestMemoryStore(StoreContract, CopyContract):
    """The store of one process."""

    @pytest.fixture
    def store(self) -> Store:
        """Give a memory store."""
        return MemoryStore()


class TestRedisStore(StoreContract, CopyContract):
    """The store on a real Redis, a hash per tenant."""

    layout: ClassVar[Literal["hash", "chatwoot"]] = "hash"

    @pytest.fixture
    async def store(self, redis_server: RedisServer) -> AsyncIterator[Store]:
        """Give a store on the shared server."""
        store = RedisStore.from_url(redis_server.url, layout=self.layout, timeout=10)
        yield store
        await store.aclose()

    @pytest.fixture
    async def another(self, redis_server: RedisServer) -> AsyncIterator[Store]:
        """Give another on the same server."""
        another = RedisStore.from_url(redis_server.url, layout=self.layout, timeout=10)
        yield another
        await another.aclose()


class TestRedisStoreInChatwootsLayout(TestRedisStore):
    """The store on a real Redis, in Chatwoot's own keys."""

    layout = "chatwoot"


class TestRedisStoreOnFakeRedis(StoreContract, CopyContract):
    """The store on fakeredis, through clients of the user's own."""

    layout: ClassVar[Literal["hash", "chatwoot"]] = "hash"

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        """Give a store whose clients share one fake server."""
        server = fakeredis.FakeServer()
        store = RedisStore(
            lambda: fakeredis.FakeAsyncRedis(server=server),
            lambda: fakeredis.FakeRedis(server=server),
            layout=self.layout,
            timeout=10,
        )
        yield store
        await store.aclose()


class TestRedisStoreOnFakeRedisInChatwootsLayout(TestRedisStoreOnFakeRedis):
    """The store on fakeredis, in Chatwoot's own keys."""

    layout = "chatwoot"
