"""The mirror behind sentinels and in a cluster, through failovers and while slots move."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
import redis.asyncio.cluster

from cache_revalidate import Keyspace, StoreError
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.types import Tokens
from tests.docs.pages import DOCS
from tests.stores.clustered import primaries_of, slot_of, tenants_of
from tests.stores.mirrored import MODELS, SOON, Mirrored, until, until_answered
from tests.stores.test_redis_mirror import ENOUGH
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_replication import ask, client_of, is_in_sync, replicated_redis, role_of, wait_until
from tests.support.redis_sentinels import SentinelGroup, sentinel_group
from tests.support.servers import HOST

OpenStore = Callable[..., RedisStore]

AT_ONCE = 1.0
"""Seconds within which what is published is heard, on a busy machine; it takes less than a millisecond."""

LIFE = 2.0
"""Seconds for which tenants are mirrored here."""

_PACE_SECONDS = 0.01


class Readers:
    """One reader per tenant, of a store that mirrors, and one bumper, of another; and what they have seen."""

    def __init__(self, here: Mirrored, other: RedisStore, tenants: Sequence[str]) -> None:
        self.here = here
        self.tenants = tenants
        self.backward: list[tuple[str, str, str]] = []
        self.late: list[tuple[str, float]] = []
        self._other = other
        self._bumped: dict[str, list[tuple[float, str]]] = {tenant: [] for tenant in tenants}

    async def read(self, tenant: str) -> None:
        """Look at a tenant's token again and again, as one client does."""
        seen = ""
        while True:
            began = time.monotonic()
            try:
                token = (await self.here.look(tenant))["label"]
            except StoreError:
                pass
            else:
                if token < seen:
                    self.backward.append((tenant, seen, token))
                missed = [ended for ended, bumped in self._bumped[tenant] if bumped > token and ended < began]
                if missed:
                    self.late.append((tenant, began - min(missed)))
                seen = token
            await asyncio.sleep(_PACE_SECONDS)

    async def bump(self, tenant: str) -> None:
        """Bump a tenant's token again and again."""
        while True:
            try:
                token = (await self._other.bump(self.here.keyspace, {tenant: MODELS}))[tenant]["label"]
                self._bumped[tenant].append((time.monotonic(), token))
            except StoreError:
                pass
            await asyncio.sleep(_PACE_SECONDS * 2)

    async def settle(self) -> float:
        """Wait until all tenants are mirrored, with what Redis holds; return how many seconds that took."""
        started = time.monotonic()
        for tenant in self.tenants:

            async def is_right(tenant: str = tenant) -> bool:
                await self.here.look(tenant)
                held = self.here.held(tenant)
                return held is not None and held == await self._other.read(self.here.keyspace, tenant, MODELS)

            await until_answered(is_right, f"tenant {tenant} is mirrored rightly", SOON)
        return time.monotonic() - started

    async def hears(self) -> None:
        """Show that what is bumped is heard."""
        for tenant in self.tenants:

            async def is_heard(tenant: str = tenant) -> bool:
                await self.here.warm(tenant)
                bumped = (await self._other.bump(self.here.keyspace, {tenant: MODELS}))[tenant]
                ends = time.monotonic() + AT_ONCE
                while self.here.held(tenant) not in (bumped, None) and time.monotonic() < ends:
                    await asyncio.sleep(0.001)
                return self.here.held(tenant) == bumped

            await until_answered(is_heard, f"tenant {tenant}'s bumps are heard", SOON)

    def assert_never_late(self, by: float) -> None:
        """Fail if a token was answered that had been replaced for longer."""
        assert max((seconds for _, seconds in self.late), default=0.0) <= by

    def assert_never_backward(self) -> None:
        """Fail if a reader saw a token go back."""
        assert self.backward == []


@asynccontextmanager
async def reading(
    open_store: OpenStore, url: str, keyspace: Keyspace, tenants: Sequence[str]
) -> AsyncIterator[Readers]:
    """Give readers and bumpers at work, who are mirrored; at the end they have stopped, and what is held is right."""
    here, other = open_store(url, timeout=1.0, mirrored_for=LIFE), open_store(url, timeout=1.0)
    async with here.running(keyspace):
        readers = Readers(Mirrored(here, keyspace), other, tenants)
        await readers.here.warm(*tenants)
        tasks = [asyncio.create_task(do(tenant)) for tenant in tenants for do in (readers.read, readers.bump)]
        try:
            yield readers
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(how, asyncio.CancelledError) for how in ended), ended
        await readers.settle()
        await readers.hears()


async def in_thread(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition while the readers go on."""
    await asyncio.to_thread(wait_until, condition, what)


# A cluster


def shard_channels(cluster: RedisCluster) -> list[list[str]]:
    """Return the channels that are subscribed to at each primary."""
    return [ask(node, "PUBSUB", "SHARDCHANNELS") for node in primaries_of(cluster)]


async def test_sharded(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """In a cluster each tenant is subscribed to at its own node, over one connection a node, and nowhere else."""
    store, other = open_store(cluster.url, timeout=5.0), open_store(cluster.url, timeout=5.0)
    tenants = [tenant for node in primaries_of(cluster) for tenant in tenants_of(cluster, node, 3)]
    here = Mirrored(store, Keyspace(keyspace.namespace, 240.0))
    async with store.running(here.keyspace):
        await here.warm(*tenants)
        assert [len(channels) for channels in shard_channels(cluster)] == [3, 3, 3]
        for node in cluster.nodes:
            with client_of(node) as client:
                assert len(client.client_list(_type="pubsub")) == (1 if role_of(node) == "master" else 0)
                assert client.pubsub_channels() == []
        changes = dict.fromkeys(tenants, MODELS)
        for bumped in (await other.bump(here.keyspace, changes), other.bump_sync(here.keyspace, changes)):

            def is_heard(bumped: dict[str, Tokens] = bumped) -> bool:
                return all(here.held(tenant) == tokens for tenant, tokens in bumped.items())

            await until(is_heard, "all bumps are heard", AT_ONCE)
        assert store.mirror_stats.tenants == 9
        assert store.mirror_stats.drops == 0
    await until(lambda: not any(shard_channels(cluster)), "nothing is left")


@pytest.mark.parametrize("clustered", [True, False])
async def test_own_clients(clustered: bool, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """With clients of a cluster, what is published is listened to, also where nobody has said that it is one."""
    node = redis.asyncio.cluster.ClusterNode(HOST, cluster.nodes[0].port)
    make = partial(redis.asyncio.RedisCluster, startup_nodes=[node])
    here, other = (RedisStore(make, redis.RedisCluster, clustered=clustered, timeout=5.0) for _ in range(2))
    wide = Keyspace(keyspace.namespace, 240.0)
    mirrored = Mirrored(here, wide)
    async with here.running(wide):
        tenants = [tenant for node in primaries_of(cluster) for tenant in tenants_of(cluster, node, 1)]
        await mirrored.warm(*tenants)
        for tenant in tenants:
            tokens = (await other.bump(wide, {tenant: MODELS}))[tenant]
            await until(partial(is_held, mirrored, tenant, tokens), "the bump is heard", AT_ONCE)
    await other.aclose()


async def test_a_dead_node_pauses_no_other(open_store: OpenStore, keyspace: Keyspace) -> None:
    """While one node is down, tenants of the others are mirrored as they come."""
    with redis_cluster(nodes=2, replicas=0) as small:
        dead, alive = small.nodes
        ask(alive, "CONFIG SET", "cluster-require-full-coverage", "no")
        (gone,), (here_to_stay,) = tenants_of(small, dead, 1), tenants_of(small, alive, 1)
        store = open_store(small.url, timeout=1.0)
        here = Mirrored(store, keyspace)
        async with store.running(keyspace):
            await here.warm(gone)
            dead.kill()
            await until(lambda: store.mirror_stats.drops == 1, "the loss is noticed", AT_ONCE)
            with pytest.raises(StoreError):
                await here.look(gone)
            store._resume_at = 0.0  # or reads would pause, whomever they ask
            assert await here.warm(here_to_stay) < 0.9
            await until(lambda: here.held(here_to_stay) is not None, "it is mirrored")
            assert store.mirror_stats.drops == 1


async def test_enough_rights(open_store: OpenStore, cluster: RedisCluster, caplog: pytest.LogCaptureFixture) -> None:
    """The rights that the documentation names for a cluster are enough."""
    more = "+spublish +ssubscribe +sunsubscribe +asking +cluster +command"
    assert f"`{more}`" in (DOCS / "mirror.md").read_text()
    for node in cluster.nodes:
        rights = ["~*", "resetchannels", "&cache_revalidate:*", "-@all", *ENOUGH.split(), *more.split()]
        ask(node, "ACL", "SETUSER", "app", "on", ">pw", *rights)
    url = cluster.url.replace("://", "://app:pw@")
    here, other = (open_store(url, timeout=5.0) for _ in range(2))
    mirrored = Mirrored(here, Keyspace("cache_revalidate", 240.0))
    async with here.running(mirrored.keyspace):
        await mirrored.warm("1", "2")
        for bumped in (
            await other.bump(mirrored.keyspace, {"1": MODELS}),
            other.bump_sync(mirrored.keyspace, {"2": MODELS}),
        ):
            ((tenant, tokens),) = bumped.items()
            await until(partial(is_held, mirrored, tenant, tokens), "the bump is heard", AT_ONCE)
    assert caplog.records == []


def is_held(mirrored: Mirrored, tenant: str, tokens: Tokens) -> bool:
    """Say whether these tokens are at hand."""
    return mirrored.held(tenant) == tokens


async def test_reshard(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """While a slot moves, its events may be missed, for `mirrored_for` at most; afterwards they are heard again."""
    source, target, _ = primaries_of(cluster)
    (moving, staying), (there,) = tenants_of(cluster, source, 2), tenants_of(cluster, target, 1)
    slot = slot_of(cluster, moving)
    async with reading(open_store, cluster.url, keyspace, [moving, staying, there]) as readers:
        cluster.begin_move(slot, target)
        cluster.move_keys(slot, source, target)
        await asyncio.sleep(LIFE * 1.5)
        readers.assert_never_late(LIFE + AT_ONCE)
        cluster.end_move(slot, target)
        await readers.here.warm(moving)
        await in_thread(lambda: f"{keyspace.namespace}:{{{moving}}}" in ask(target, "PUBSUB", "SHARDCHANNELS"), "moved")
    readers.assert_never_late(LIFE + AT_ONCE)
    readers.assert_never_backward()
    assert readers.here.store.mirror_stats.drops == 0


async def test_planned_failover(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """When a replica takes over by plan, the mirror follows it: nothing old is answered for long, nothing goes back."""
    tenants = [tenant for node in primaries_of(cluster)[:2] for tenant in tenants_of(cluster, node, 1)]
    slot = slot_of(cluster, tenants[0])
    (replica,) = cluster.replicas_of(slot)
    async with reading(open_store, cluster.url, keyspace, tenants) as readers:
        cluster.fail_over(replica)
        await asyncio.to_thread(cluster.wait_until_primary_is, replica, slot)
        channel = f"{keyspace.namespace}:{{{tenants[0]}}}"
        await in_thread(lambda: channel in ask(replica, "PUBSUB", "SHARDCHANNELS"), "the subscription has followed")
    readers.assert_never_late(LIFE + AT_ONCE)
    readers.assert_never_backward()


async def test_dead_primary(open_store: OpenStore, keyspace: Keyspace, cluster: RedisCluster) -> None:
    """When a primary is killed, its tenants are mirrored anew once its replica answers; the others' are not touched."""
    dead = primaries_of(cluster)[0]
    tenants = tenants_of(cluster, dead, 2)
    slot = slot_of(cluster, tenants[0])
    (replica,) = cluster.replicas_of(slot)
    async with reading(open_store, cluster.url, keyspace, tenants) as readers:
        dead.kill()
        await asyncio.to_thread(cluster.wait_until_primary_is, replica, slot)
    assert readers.here.store.mirror_stats.drops == 1


# Sentinels


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    """Give a primary, its replica and three sentinels."""
    with sentinel_group() as group:
        yield group


async def test_sentinels_planned_failover(group: SentinelGroup, open_store: OpenStore, keyspace: Keyspace) -> None:
    """After a failover with writes paused and the replica in sync nothing is late, and nothing has gone back."""
    old, new = group.primary, group.replica
    async with reading(open_store, group.url, keyspace, ["1", "2"]) as readers:
        ask(old, "CLIENT", "PAUSE", 3_000, "WRITE")
        await in_thread(lambda: is_in_sync(old, new), "the replica has everything")
        group.fail_over()
        await in_thread(lambda: group.primary is new and role_of(old) == "slave", "the old primary follows")
    readers.assert_never_backward()
    assert readers.here.store.mirror_stats.drops >= 1


async def test_sentinels_bare_failover(group: SentinelGroup, open_store: OpenStore, keyspace: Keyspace) -> None:
    """After a failover that is merely ordered, what is held is what the new primary holds."""
    old, new = group.primary, group.replica

    def is_done() -> bool:
        if group.primary is old:  # On a busy machine a sentinel may give up.
            group.fail_over()
        return group.primary is new and role_of(old) == "slave"

    async with reading(open_store, group.url, keyspace, ["1", "2"]) as readers:
        await in_thread(is_done, "the old primary follows")
    assert readers.here.store.mirror_stats.drops >= 1


@pytest.mark.parametrize("hung", [False, True], ids=["killed", "hung"])
async def test_sentinels_dead_primary(
    hung: bool, group: SentinelGroup, open_store: OpenStore, keyspace: Keyspace
) -> None:
    """When the primary is killed, or hangs, what is held a little later is what the new one holds."""
    old, new = group.primary, group.replica
    async with reading(open_store, group.url, keyspace, ["1", "2"]) as readers:
        if hung:
            old.pause()
        else:
            old.kill()
        await in_thread(lambda: group.primary is new, "the sentinels name the new primary")
        await readers.here.warm("1", "2")
    if hung:
        old.resume()
        await in_thread(lambda: role_of(old) == "slave", "the old primary follows")
        assert not [channel for channel in ask(old, "PUBSUB", "CHANNELS") if not channel.startswith("__sentinel__")]
    assert readers.here.store.mirror_stats.drops >= 1


# Replication


async def test_a_demoted_primary_publishes_what_it_receives(open_store: OpenStore, keyspace: Keyspace) -> None:
    """What scripts publish is replicated, so a primary that was made a replica tells of the new one's bumps."""
    wide = Keyspace(keyspace.namespace, 240.0)
    with replicated_redis() as pair:
        here, other = (open_store(pair.primary.url, timeout=5.0, mirrored_for=60.0) for _ in range(2))
        mirrored = Mirrored(here, wide)
        async with here.running(wide):
            await mirrored.warm()
            await other.bump(wide, {"1": MODELS})
            pair.wait_until_in_sync()
            pair.fail_over(kill=False)
            pair.follow()
            new = open_store(pair.primary.url, timeout=5.0)
            bumped = await new.bump(wide, {"1": MODELS})
            await until(lambda: mirrored.held() == bumped["1"], "the bump is heard", AT_ONCE)
            assert here.mirror_stats.drops == 0
