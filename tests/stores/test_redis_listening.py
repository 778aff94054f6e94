"""Who listens to a store on a real Redis: several at once, beside the mirror, and when something breaks."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cache_revalidate import Keyspace, Line
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.testing.ear import Ear
from cache_revalidate.types import Tokens
from tests.stores.clustered import primaries_of, slot_of, tenants_of
from tests.stores.mirrored import MODELS, Mirrored, until
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_replication import ask, client_of
from tests.support.servers import RedisServer

OpenStore = Callable[..., RedisStore]
OpenMirrored = Callable[..., Any]

AT_ONCE = 1.0
"""Seconds within which what is published is heard, on a busy machine; it takes less than a millisecond."""


class Noting(Ear):
    """Notes also in which order it was told, and by what line."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.line: Line | None = None

    def confirmed(self, line: Line) -> None:
        """Note it."""
        super().confirmed(line)
        self.order.append("confirmed")
        self.line = line

    def lost(self) -> None:
        """Note it."""
        super().lost()
        self.order.append("lost")


async def listen(here: Mirrored, *ears: Ear, tenant: str = "1") -> None:
    """Listen until that is confirmed, again and again, as who listens does, and without reading."""

    def are_told() -> bool:
        for ear in ears:
            if not ear.is_told:
                assert here.store.listen(here.keyspace, tenant, ear)
        return all(ear.is_told for ear in ears)

    await until(are_told, f"listening to tenant {tenant} is confirmed")


async def hear(bumping: RedisStore, here: Mirrored, *ears: Ear, tenant: str = "1") -> Tokens:
    """Bump, and wait until all have heard of it."""
    tokens = (await bumping.bump(here.keyspace, {tenant: MODELS}))[tenant]
    await until(lambda: all(ear.tokens == tokens for ear in ears), "the bump is heard", AT_ONCE)
    return tokens


def subscriptions(server: RedisServer) -> dict[str, int]:
    """Return how many connections have subscribed to each channel."""
    with client_of(server) as client:
        return dict(client.pubsub_numsub(*client.pubsub_channels()))


async def test_one_subscription_for_all(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer
) -> None:
    """The mirror and several listeners hear over one subscription, which lasts until the last of them has left."""
    here, other = await open_mirrored(redis_server_own.url), open_store(redis_server_own.url, timeout=5.0)
    channel = f"{here.keyspace.namespace}:{{1}}"
    first, second = Noting(), Noting()
    await here.warm()
    assert here.store.listen(here.keyspace, "1", first)
    assert here.store.listen(here.keyspace, "1", second)
    assert first.order == second.order == ["confirmed"]  # at once
    assert first.line is not None
    assert first.line.believed_until > 0
    assert subscriptions(redis_server_own) == {channel: 1}
    tokens = await hear(other, here, first, second)
    assert here.held() == tokens
    here.store.leave(here.keyspace, "1", first)
    again = await hear(other, here, second)
    assert here.held() == again
    assert first.tokens == tokens
    here.store.leave(here.keyspace, "1", second)
    tokens = (await other.bump(here.keyspace, {"1": MODELS}))["1"]
    await until(lambda: here.held() == tokens, "the mirror hears", AT_ONCE)
    assert second.tokens == again
    assert subscriptions(redis_server_own) == {channel: 1}


async def test_a_listener_outlasts_the_mirror(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer
) -> None:
    """Who listens hears on when the mirror has let go of a tenant, and the mirror finds the subscription again."""
    here = await open_mirrored(redis_server_own.url, mirrored_tenants=1)
    other = open_store(redis_server_own.url, timeout=5.0)
    ear = Noting()
    await listen(here, ear)
    await here.warm("1")
    await here.warm("2")  # which pushes the first out
    assert here.store.mirror_stats.evicted == 1
    assert here.held("1") is None
    await hear(other, here, ear)
    await here.warm("1")
    assert here.held("1") == ear.tokens
    assert ear.order[-1:] == ["confirmed"]
    assert ear.order.count("confirmed") == 1


async def test_without_a_mirror(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer
) -> None:
    """Where nothing is mirrored one connection serves all who listen, until the last of them has left."""
    here = await open_mirrored(redis_server_own.url, mirrored_tenants=0)
    other = open_store(redis_server_own.url, timeout=5.0)
    ears = {tenant: (Noting(), Noting()) for tenant in ("1", "2")}
    assert ask(redis_server_own, "CLIENT", "LIST", "TYPE", "pubsub") == ""
    for tenant, both in ears.items():
        await listen(here, *both, tenant=tenant)
    for tenant, both in ears.items():
        await hear(other, here, *both, tenant=tenant)
    assert len(ask(redis_server_own, "CLIENT", "LIST", "TYPE", "pubsub").splitlines()) == 1
    assert here.held("1") is None
    for tenant, both in ears.items():
        for ear in both:
            here.store.leave(here.keyspace, tenant, ear)
            here.store.leave(here.keyspace, tenant, ear)
    await until(lambda: ask(redis_server_own, "CLIENT", "LIST", "TYPE", "pubsub") == "", "the connection is closed")
    again = Noting()
    await listen(here, again)
    await hear(other, here, again)


async def test_drops_and_mints_are_heard(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer
) -> None:
    """What is dropped is heard of as empty, and what is minted in its place when it is."""
    here, other = await open_mirrored(redis_server.url), open_store(redis_server.url, timeout=5.0)
    ear = Noting()
    await listen(here, ear)
    await hear(other, here, ear)
    other.drop_sync(here.keyspace, {"1": MODELS})
    await until(lambda: ear.tokens == {"label": ""}, "the drop is heard", AT_ONCE)
    tokens = await other.read(here.keyspace, "1", MODELS)
    await until(lambda: ear.tokens == tokens, "what is minted is heard", AT_ONCE)


async def test_only_where_the_app_runs(open_store: OpenStore, keyspace: Keyspace, redis_server: RedisServer) -> None:
    """Outside of the app's lifespan, on another event loop and in a thread without one, a store tells nothing."""
    store, ear = open_store(redis_server.url, timeout=5.0), Noting()
    assert not store.listen(keyspace, "1", ear)
    async with store.running(keyspace):

        async def elsewhere() -> bool:
            async with store.running(keyspace):
                store.leave(keyspace, "1", ear)
                return store.listen(keyspace, "1", ear)

        assert not await asyncio.to_thread(asyncio.run, elsewhere())
        assert not await asyncio.to_thread(store.listen, keyspace, "1", ear)
        assert ear.order == []
        await listen(Mirrored(store, keyspace), ear)
        ear.order.clear()
    assert ear.order == ["lost"]
    assert not store.listen(keyspace, "1", ear)
    store.leave(keyspace, "1", ear)


async def test_until_the_last_app_ends(open_store: OpenStore, keyspace: Keyspace, redis_server: RedisServer) -> None:
    """Of two apps of one namespace either may end first: who listens hears as long as one runs."""
    store, other, ear = open_store(redis_server.url), open_store(redis_server.url), Noting()
    here = Mirrored(store, keyspace)
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        await first.enter_async_context(store.running(keyspace))
        await second.enter_async_context(store.running(keyspace))
        await listen(here, ear)
        await first.aclose()
        await hear(other, here, ear)
        await second.aclose()
        assert not ear.is_told


async def test_chatwoots_layout(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer) -> None:
    """In Chatwoot's layout what this library bumps is heard, and the store says that it does not tell of all."""
    here = await open_mirrored(redis_server.url, layout="chatwoot")
    other, ear = open_store(redis_server.url, layout="chatwoot", timeout=5.0), Noting()
    await here.store.check()
    assert not here.store.listen(here.keyspace, "1", ear)
    await until(lambda: ear.is_told, "it is confirmed")
    await hear(other, here, ear)


async def test_without_rights_to_publish(open_mirrored: OpenMirrored, redis_server_own: RedisServer) -> None:
    """A store whose bumps Redis has not let be published says that it does not tell of all."""
    here, ear = await open_mirrored(redis_server_own.url), Noting()
    await listen(here, ear)
    ask(redis_server_own, "ACL", "SETUSER", "default", "-publish")
    await here.bump()
    assert not here.store.listen(here.keyspace, "1", ear)
    assert ear.is_told


async def test_restart(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer) -> None:
    """When Redis goes all are told; to listen comes to nothing while it is away, and works when it is back."""
    here, other = await open_mirrored(redis_server_own.url), open_store(redis_server_own.url, timeout=5.0)
    first, second = Noting(), Noting()
    await listen(here, first, second)
    await here.warm()
    redis_server_own.kill()
    await until(lambda: not first.is_told and not second.is_told, "the loss is told", AT_ONCE)
    first.order.clear()
    second.tokens.clear()
    assert here.store.listen(here.keyspace, "1", first)
    await until(lambda: first.order == ["lost"], "it comes to nothing", AT_ONCE)
    assert here.store.listen(here.keyspace, "1", first)
    assert first.order == ["lost", "lost"]  # at once: it has just been tried
    redis_server_own.start()
    await listen(here, first)
    await hear(other, here, first)
    assert not second.is_told
    assert second.tokens == {}
    await listen(here, second)
    await hear(other, here, first, second)


async def test_a_listener_that_fails(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What one listener raises, whatever he is told, is logged, and nobody else notices it."""

    class Failing(Noting):
        def confirmed(self, line: Line) -> None:
            raise ZeroDivisionError

        def heard(self, tokens: Tokens) -> None:
            raise ZeroDivisionError

        def lost(self) -> None:
            raise ZeroDivisionError

    here, other = await open_mirrored(redis_server.url), open_store(redis_server.url, timeout=5.0)
    ear = Noting()
    here.store.listen(here.keyspace, "1", Failing())
    await listen(here, ear)
    here.store.listen(here.keyspace, "1", Failing())
    await here.warm()
    tokens = await hear(other, here, ear)
    assert here.held() == tokens
    assert here.store.mirror_stats.drops == 0
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    caplog.clear()


# A cluster


async def test_a_slot_moves(
    open_mirrored: OpenMirrored, open_store: OpenStore, cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """When a slot has moved all who listen are told, and who listens again hears the new node, without a read."""
    here = await open_mirrored(cluster.url, mirrored_tenants=0)
    other = open_store(cluster.url, timeout=5.0)
    source, target, _ = primaries_of(cluster)
    moving, staying = tenants_of(cluster, source, 2)
    slot = slot_of(cluster, moving)
    first, second, stays = Noting(), Noting(), Noting()
    await listen(here, first, second, tenant=moving)
    await listen(here, stays, tenant=staying)
    await hear(other, here, first, second, tenant=moving)
    cluster.begin_move(slot, target)
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, target)
    await until(lambda: not first.is_told and not second.is_told, "the loss is told")
    await listen(here, first, tenant=moving)
    await listen(here, second, tenant=moving)
    await hear(other, here, first, second, tenant=moving)
    channel = f"{here.keyspace.namespace}:{{{moving}}}"
    assert channel in ask(target, "PUBSUB", "SHARDCHANNELS")
    assert channel not in ask(source, "PUBSUB", "SHARDCHANNELS")
    await hear(other, here, stays, tenant=staying)
    assert "lost" not in stays.order[stays.order.index("confirmed") :]
    assert here.store.mirror_stats.drops == 0
    assert caplog.records == []


async def test_who_listens_again_moves(open_mirrored: OpenMirrored, cluster: RedisCluster) -> None:
    """Who listens again when the client has learned of another node is moved there; the others hear of the loss."""
    here = await open_mirrored(cluster.url, mirrored_tenants=0)
    source, target, _ = primaries_of(cluster)
    (tenant,) = tenants_of(cluster, source, 1)
    channel = f"{here.keyspace.namespace}:{{{tenant}}}"
    first, second = Noting(), Noting()
    await listen(here, first, second, tenant=tenant)
    nodes: Any = here.store._client()
    cached = nodes.nodes_manager.slots_cache
    slot = nodes.keyslot(channel)
    before = cached[slot]
    cached[slot] = [nodes.get_node(target.url.split("//")[1].split(":")[0], target.port)]
    first.order.clear()
    second.order.clear()
    assert here.store.listen(here.keyspace, tenant, first)
    assert first.order == second.order == ["lost"]
    cached[slot] = before
    await listen(here, first, second, tenant=tenant)
    assert here.store.listen(here.keyspace, tenant, first)
    assert first.order[-1] == second.order[-1] == "confirmed"


async def test_a_node_dies(open_mirrored: OpenMirrored, open_store: OpenStore, cluster: RedisCluster) -> None:
    """When a node is killed those who listen there are told, and hear again once its replica serves; others hear on."""
    here = await open_mirrored(cluster.url, mirrored_tenants=0, timeout=1.0)
    dead, alive, _ = primaries_of(cluster)
    (gone,), (there,) = tenants_of(cluster, dead, 1), tenants_of(cluster, alive, 1)
    slot = slot_of(cluster, gone)
    (replica,) = cluster.replicas_of(slot)
    lost, kept = Noting(), Noting()
    await listen(here, lost, tenant=gone)
    await listen(here, kept, tenant=there)
    dead.kill()
    await until(lambda: not lost.is_told, "the loss is told", AT_ONCE)
    again = asyncio.ensure_future(listen(here, lost, tenant=gone))
    other = open_store(cluster.url, timeout=1.0)
    await hear(other, here, kept, tenant=there)
    await asyncio.to_thread(cluster.wait_until_primary_is, replica, slot)
    await again
    await hear(open_store(cluster.url, timeout=5.0), here, lost, tenant=gone)
    await hear(other, here, kept, tenant=there)
    assert kept.order.count("confirmed") == 1
    assert here.store.mirror_stats.drops == 1
