"""Two workers on a real Redis, one of which hears nothing for a while: who shows a newer token is answered right."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cache_revalidate import CacheRevalidateMiddleware, RedisStore, Revalidator
from tests.middleware.conftest import KEYS, LABELS, PATTERN, Desk, agent, client_of
from tests.support.proxy import Proxy
from tests.support.servers import HOST, RedisServer

MODELS = ["label", "inbox", "team"]


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return uuid.uuid4().hex


@pytest.fixture
async def writer(redis_server: RedisServer, namespace: str) -> AsyncIterator[Revalidator]:
    """The worker that is written through."""
    store = RedisStore.from_url(redis_server.url, timeout=10.0)
    yield Revalidator(MODELS, store, namespace=namespace)
    await store.aclose()


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_write_through_one_worker_and_read_through_a_deaf_one(
    desk: Desk, writer: Revalidator, redis_server: RedisServer, namespace: str, path: str
) -> None:
    """A worker whose subscription is silent answers 304 from its mirror, but not if the author's token is shown."""
    proxy = Proxy(HOST, redis_server.port)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(proxy.serving())
        store = RedisStore.from_url(f"redis://{HOST}:{port}", timeout=10.0)
        reader = Revalidator(MODELS, store, namespace=namespace)
        await stack.enter_async_context(reader.lifespan())
        app = CacheRevalidateMiddleware(desk, revalidator=reader, authorize=agent, routes={PATTERN: ["label"]})
        client = await stack.enter_async_context(client_of(app))

        async with asyncio.timeout(10):
            while store.held(reader.keyspace, "1", ("inbox", "label", "team")) is None:
                await reader.tokens(1)
        match = {"if-none-match": (await client.get(path)).headers["etag"]}
        proxy.hold_after = b"PING"  # from the next ping on, the subscription is told nothing
        async with asyncio.timeout(10):
            await proxy.held.wait()
        reads = store.mirror_stats.misses
        new = await writer.bump(1, "label")
        assert (await client.get(path, headers=match)).status_code == 304
        assert store.mirror_stats.misses == reads, "the mirror was not believed: the test was too slow"
        shown = match | {"cache-keys": f'label="{new["label"]}"'}
        fresh = await client.get(path, headers=shown)
        assert fresh.status_code == 200
        assert (await client.get(path, headers=match)).status_code == 200, "what was read past the mirror is held now"
