"""Fixtures of the tests of stores."""

import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore
from tests.stores.mirrored import Mirrored
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_replication import client_of
from tests.support.servers import HOST, RedisServer


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


@pytest.fixture
async def open_mirrored(open_store: Callable[..., RedisStore], keyspace: Keyspace) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that opens a store whose app runs, and mirrors the test's keyspace."""
    async with AsyncExitStack() as stack:

        async def open_mirrored(url: str, **options: object) -> Mirrored:
            store = open_store(url, **{"timeout": 5.0, "mirrored_for": 60.0, **options})
            # So that it is what is heard that counts, and not what is read again.
            wide = Keyspace(keyspace.namespace, 240.0)
            await stack.enter_async_context(store.running(wide))
            return Mirrored(store, wide)

        yield open_mirrored


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a self-signed certificate for the loopback address, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    options = ["-days", "1", "-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[RedisCluster]:
    """Give three primaries, each with a replica, which all tests here put to work."""
    with redis_cluster(nodes=6, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    """Give the cluster, whole again after the test before."""
    for node in shared_cluster.nodes:
        if not node.is_running:
            node.start()
    shared_cluster.wait_until_whole()
    return shared_cluster
