"""The store in a cluster of six nodes, while slots move and nodes fail: no token goes back that was not lost."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore
from tests.stores.clustered import primaries_of, slot_of, tenants_of
from tests.stores.traffic import traffic
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_replication import ask, cut, mend
from tests.support.servers import HOST

OpenStore = Callable[..., RedisStore]

SOON = 30.0
"""Seconds within which every door is open again, on a busy machine; it takes 2 to 4."""


async def test_reshard(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """While a tenant's slot moves to another node, every door goes on without an error, and nothing is lost."""
    source, target, _ = primaries_of(cluster)
    (moving, staying), (there,) = tenants_of(cluster, source, 2), tenants_of(cluster, target, 1)
    tenants = [moving, staying, there]
    slot = slot_of(cluster, moving)
    async with traffic(partial(open_store, cluster.url, timeout=10.0), keyspace, tenants) as calls:
        cluster.begin_move(slot, target)
        await calls.flows(tenants, within=SOON)
        assert cluster.move_keys(slot, source, target) == 1
        await calls.flows(tenants, within=SOON)
        cluster.end_move(slot, target)
        await calls.flows(tenants, within=SOON)
    assert not any(calls.errors.values())
    calls.assert_never_backward()


async def test_planned_failover(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """A failover that the cluster plans loses nothing; all go on with the new primary."""
    tenants = [tenant for node in primaries_of(cluster)[:2] for tenant in tenants_of(cluster, node, 1)]
    slot = slot_of(cluster, tenants[0])
    (replica,) = cluster.replicas_of(slot)
    async with traffic(partial(open_store, cluster.url), keyspace, tenants) as calls:
        cluster.fail_over(replica)
        await asyncio.to_thread(cluster.wait_until_primary_is, replica, slot)
        await calls.flows(tenants, within=SOON)
    calls.assert_never_backward()


@pytest.mark.parametrize("lagging", [False, True], ids=["in sync", "lagging"])
async def test_dead_primary(lagging: bool, open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """When a primary is killed, its replica answers in seconds; no bump repeats a token, not even one that was lost."""
    tenants = tenants_of(cluster, primaries_of(cluster)[0], 2)
    slot = slot_of(cluster, tenants[0])
    dead, (replica,) = cluster.primary_of(slot), cluster.replicas_of(slot)
    async with traffic(partial(open_store, cluster.url), keyspace, tenants) as calls:
        if lagging:
            cut(replica)
            await calls.flows(tenants, within=SOON)
        dead.kill()
        await calls.flows(tenants, within=SOON)
        await asyncio.to_thread(cluster.wait_until_primary_is, replica, slot)  # of which not every node knows at once
        calls.assert_no_repeat()
        mend(replica)
        dead.start()
        await asyncio.to_thread(cluster.wait_until_whole)
        await calls.flows(tenants, within=SOON)
    calls.assert_no_repeat()


async def test_dead_primary_of_others(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """A node that is killed is not missed by those whose tenants are elsewhere, if the cluster serves what it has."""
    for node in cluster.nodes:
        ask(node, "CONFIG SET", "cluster-require-full-coverage", "no")
    dead, here, _ = primaries_of(cluster)
    tenants = tenants_of(cluster, here, 2)
    slot = slot_of(cluster, tenants_of(cluster, dead, 1)[0])
    (replica,) = cluster.replicas_of(slot)
    async with traffic(partial(open_store, cluster.url, timeout=10.0), keyspace, tenants) as calls:
        dead.kill()
        await asyncio.to_thread(cluster.wait_until_primary_is, replica, slot)
        await calls.flows(tenants, within=SOON)
        assert not any(calls.errors.values())
    calls.assert_never_backward()


@pytest.fixture
def small() -> Iterator[RedisCluster]:
    """Give a cluster of two primaries without replicas."""
    with redis_cluster(nodes=2, replicas=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def small_shared() -> Iterator[RedisCluster]:
    """Give such a cluster to several tests."""
    with redis_cluster(nodes=2, replicas=0) as cluster:
        yield cluster


async def test_start_without_a_node(open_store: OpenStore, keyspace: Keyspace, small: RedisCluster) -> None:
    """A process that starts while a node is down serves the tenants of the others, if the cluster does."""
    dead, here = small.nodes
    ask(here, "CONFIG SET", "cluster-require-full-coverage", "no")
    (tenant,) = tenants_of(small, here, 1)
    dead.kill()
    store = open_store(f"redis+cluster://{HOST}:{here.port}", timeout=10.0)
    bumped = (await store.bump(keyspace, {tenant: ["label"]}))[tenant]
    assert store.bump_sync(keyspace, {tenant: ["label"]})[tenant]["label"] > bumped["label"]


@pytest.mark.parametrize("connections", [1, 2, 3])
async def test_asking(connections: int, open_store: OpenStore, keyspace: Keyspace, small_shared: RedisCluster) -> None:
    """A tenant whose hash has moved, though its slot is not the new node's yet, is read and bumped there at once."""
    source, target = small_shared.nodes
    (moving,), (there,) = tenants_of(small_shared, source, 1), tenants_of(small_shared, target, 1)
    slot = slot_of(small_shared, moving)
    store = open_store(small_shared.url, timeout=10.0)
    held = (await store.bump(keyspace, {moving: ["label"]}))[moving]
    await asyncio.gather(*(store.read(keyspace, there, ["label"]) for _ in range(connections)))
    small_shared.begin_move(slot, target)
    small_shared.move_keys(slot, source, target)
    assert await store.read(keyspace, moving, ["label"]) == held
    bumped = (await store.bump(keyspace, {moving: ["label"]}))[moving]
    assert held["label"] < bumped["label"] < store.bump_sync(keyspace, {moving: ["label"]})[moving]["label"]
    small_shared.end_move(slot, target)


async def test_node_without_slots(open_store: OpenStore, keyspace: Keyspace, small: RedisCluster) -> None:
    """A slot may move to a node that has none yet, so that the cluster's list of slots does not name it."""
    (tenant,) = tenants_of(small, small.nodes[0], 1)
    slot = slot_of(small, tenant)
    new = small.add_node()
    async with traffic(partial(open_store, small.url, timeout=10.0), keyspace, [tenant]) as calls:
        source = small.begin_move(slot, new)
        small.move_keys(slot, source, new)
        await calls.flows([tenant], within=SOON)
        small.end_move(slot, new)
        await calls.flows([tenant], within=SOON)
    assert not any(calls.errors.values())
    calls.assert_never_backward()


async def test_cancelling(open_store: OpenStore, keyspace: Keyspace, small_shared: RedisCluster) -> None:
    """A task that is cancelled while it asks a cluster ends, at whatever moment that is."""
    store = open_store(small_shared.url, timeout=10.0)

    async def keep_asking() -> None:
        while True:
            await store.bump(keyspace, {"1": ["label"]})

    for i in range(200):
        tasks = [asyncio.create_task(keep_asking()) for _ in range(4)]
        await asyncio.sleep(0.002 + 0.000_01 * i)
        for task in tasks:
            task.cancel()
        _, going_on = await asyncio.wait(tasks, timeout=SOON)
        assert not going_on
