"""The store in Redis over a Unix socket, over TLS, behind sentinels and in a cluster."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cache_revalidate import Keyspace, Store, StoreError
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.testing import CopyContract, StoreContract
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_replication import client_of
from tests.support.redis_sentinels import SERVICE, SentinelServer
from tests.support.servers import HOST, RedisServer, free_port

OpenStore = Callable[..., RedisStore]


async def works(store: RedisStore, keyspace: Keyspace) -> None:
    """Show that a store reads and bumps, synchronously too."""
    await store.check()
    first = await store.read(keyspace, "1", ["label"])
    second = await store.bump(keyspace, {"1": ["label"]})
    third = store.bump_sync(keyspace, {"1": ["label"]})
    assert first["label"] < second["1"]["label"] < third["1"]["label"]
    assert await store.read(keyspace, "1", ["label"]) == third["1"]


@pytest.fixture(scope="module")
def sentinel() -> Iterator[SentinelServer]:
    """Give a sentinel that watches a Redis with a password."""
    with RedisServer("--requirepass", "secret") as server, SentinelServer(server, password="secret") as sentinel:
        yield sentinel


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Give a cluster of two nodes."""
    with redis_cluster(nodes=2, replicas=0) as cluster:
        yield cluster


async def test_database(open_store: OpenStore, redis_server: RedisServer, keyspace: Keyspace) -> None:
    """The URL's database is the one used."""
    await works(open_store(redis_server.url.removesuffix("/0") + "/3", timeout=10.0), keyspace)
    with client_of(redis_server) as client:
        assert not client.exists(f"{keyspace.namespace}:{{1}}")
        client.select(3)
        assert client.exists(f"{keyspace.namespace}:{{1}}")


async def test_unix_socket(open_store: OpenStore, keyspace: Keyspace, tmp_path: Path) -> None:
    """A Redis may listen on a Unix socket alone."""
    socket = tmp_path / "redis.sock"
    with RedisServer("--unixsocket", str(socket)):
        await works(open_store(f"unix://{socket}?db=1", timeout=10.0), keyspace)


async def test_tls(open_store: OpenStore, keyspace: Keyspace, certificate: tuple[Path, Path]) -> None:
    """Over TLS, the certificate is checked, unless the URL says otherwise."""
    port = free_port()
    certificate_file, key_file = map(str, certificate)
    files = ["--tls-cert-file", certificate_file, "--tls-key-file", key_file, "--tls-ca-cert-file", certificate_file]
    with RedisServer("--tls-port", str(port), *files, "--tls-auth-clients", "no"):
        await works(open_store(f"rediss://{HOST}:{port}?ssl_ca_certs={certificate_file}", timeout=10.0), keyspace)
        lenient = f"rediss://{HOST}:{port}?ssl_cert_reqs=none&ssl_check_hostname=no"
        await works(open_store(lenient, timeout=10.0), keyspace)
        strict = open_store(f"rediss://{HOST}:{port}", timeout=10.0)
        with pytest.raises(StoreError, match=r"can't be reached .*certificate"):
            await strict.check()
        with pytest.raises(StoreError, match=r"can't be reached .*certificate"):
            strict.bump_sync(keyspace, {"1": ["label"]})


class TestRedisStoreBehindSentinels(StoreContract, CopyContract):
    """The store on a Redis that a sentinel names."""

    @pytest.fixture
    async def store(self, sentinel: SentinelServer) -> AsyncIterator[Store]:
        """Give a store that asks the sentinel, after one that is down."""
        hosts = f"{HOST}:{free_port()},{HOST}:{sentinel.port}"
        store = RedisStore.from_url(f"redis+sentinel://:secret@{hosts}/{SERVICE}", timeout=10.0)
        yield store
        await store.aclose()


class TestRedisStoreInACluster(StoreContract, CopyContract):
    """The store in a cluster of two nodes."""

    @pytest.fixture
    async def store(self, cluster: RedisCluster) -> AsyncIterator[Store]:
        """Give a store that learns the cluster from its second node, after one that is down."""
        store = RedisStore.from_url(
            f"redis+cluster://{HOST}:{free_port()},{HOST}:{cluster.nodes[1].port}", timeout=10.0
        )
        yield store
        await store.aclose()


async def test_bump_in_a_cluster(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """In a cluster a bump is one script call per tenant, each at the node that has the tenant's slot."""
    store = open_store(f"redis+cluster://{HOST}:{cluster.nodes[0].port}", timeout=10.0)
    changes = {str(tenant): ["inbox", "label", "team"] for tenant in range(20)}
    await store.bump(keyspace, changes)
    store.bump_sync(keyspace, changes)
    for node in cluster.nodes:
        with client_of(node) as client:
            client.config_resetstat()
    bumped = await store.bump(keyspace, changes)
    assert bumped.keys() == changes.keys()
    calls = []
    for node in cluster.nodes:
        with client_of(node) as client:
            calls.append(client.info("commandstats")["cmdstat_evalsha"]["calls"])
            client.script_flush()
    assert sum(calls) == 20
    assert min(calls) > 0
    again = store.bump_sync(keyspace, changes)
    assert all(again[tenant]["team"] > bumped[tenant]["team"] for tenant in changes)
    await store.bump(keyspace, changes)


async def test_cluster_with_a_dead_node(open_store: OpenStore, keyspace: Keyspace) -> None:
    """When one node of a cluster is gone, a bump that needs it is a StoreError within the time-out."""
    changes = {str(tenant): ["label"] for tenant in range(20)}
    with redis_cluster(nodes=2, replicas=0) as cluster:
        store = open_store(f"redis+cluster://{HOST}:{cluster.nodes[0].port}", timeout=1.0)
        await store.bump(keyspace, changes)
        store.bump_sync(keyspace, changes)
        cluster.nodes[1].kill()
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"Redis at redis\+cluster://"):
            await store.bump(keyspace, changes)
        assert time.monotonic() - started < 2
        with pytest.raises(StoreError, match=r"Redis at redis\+cluster://"):
            store.bump_sync(keyspace, changes)
        assert time.monotonic() - started < 5
        await store.aclose()


@pytest.mark.parametrize("scheme", ["redis+sentinel://{}/tokens", "redis+cluster://{}"])
async def test_nobody_there(scheme: str, open_store: OpenStore, keyspace: Keyspace) -> None:
    """Sentinels or a cluster that are not there are a StoreError at once."""
    store = open_store(scheme.format(f"{HOST}:{free_port()},{HOST}:{free_port()}"), timeout=10.0)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"Redis at redis\+"):
        await store.read(keyspace, "1", ["label"])
    with pytest.raises(StoreError, match=r"Redis at redis\+"):
        store.bump_sync(keyspace, {"1": ["label"]})
    assert time.monotonic() - started < 4


async def test_unknown_service(open_store: OpenStore, keyspace: Keyspace, sentinel: SentinelServer) -> None:
    """A service that the sentinels do not know is a StoreError that names it."""
    store = open_store(f"redis+sentinel://{HOST}:{sentinel.port}/other", timeout=10.0)
    with pytest.raises(StoreError, match="No master found for 'other'"):
        await store.read(keyspace, "1", ["label"])
    with pytest.raises(StoreError, match="No master found for 'other'"):
        store.bump_sync(keyspace, {"1": ["label"]})


@pytest.mark.parametrize("scheme", ["redis+sentinel://{}/tokens", "redis+cluster://{}"])
async def test_hung(scheme: str, open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer) -> None:
    """Sentinels or a cluster that hang are a StoreError within about the time-out."""
    redis_server_own.pause()
    store = open_store(scheme.format(f"{HOST}:{redis_server_own.port}"), timeout=1.0)
    started = time.monotonic()
    with pytest.raises(StoreError):
        await store.read(keyspace, "1", ["label"])
    assert time.monotonic() - started < 1.5
    with pytest.raises(StoreError):
        store.bump_sync(keyspace, {"1": ["label"]})
    assert time.monotonic() - started < 4


async def test_hung_sentinel_is_passed_over(
    open_store: OpenStore, keyspace: Keyspace, sentinel: SentinelServer, redis_server_own: RedisServer
) -> None:
    """When one sentinel hangs, the next is asked within the same call's time."""
    redis_server_own.pause()
    hosts = f"{HOST}:{redis_server_own.port},{HOST}:{sentinel.port}"
    await works(open_store(f"redis+sentinel://:secret@{hosts}/{SERVICE}", timeout=3.0), keyspace)
