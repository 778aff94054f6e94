"""Fixtures of the tests of stores."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import redis

from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore
from tests.support.redis_replication import client_of
from tests.support.servers import RedisServer


@pytest.fixture
def keyspace() -> Keyspace:
    """Give a keyspace that no other test uses."""
    return Keyspace(uuid.uuid4().hex, expiry=60.0)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Give a plain client of the shared Redis, to look into it."""
    with client_of(redis_server) as client:
        yield client


@pytest.fixture
async def open_store() -> AsyncIterator[Callable[..., RedisStore]]:
    """Give `RedisStore.from_url`, whose stores are closed after the test."""
    opened: list[RedisStore] = []

    def open_store(url: str, **options: object) -> RedisStore:
        opened.append(RedisStore.from_url(url, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_store
    for store in opened:
        await store.aclose()
