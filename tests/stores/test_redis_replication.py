"""The store in Redis when a replica that lacks the newest bumps takes over."""

import time
from collections.abc import Callable, Iterator

import pytest

from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore
from tests.support.redis_replication import ReplicatedRedis, client_of, replicated_redis

OpenStore = Callable[..., RedisStore]
MODELS = [f"model_{i}" for i in range(20)]


@pytest.fixture
def pair() -> Iterator[ReplicatedRedis]:
    """Give a primary and its replica."""
    with replicated_redis() as pair:
        yield pair


async def test_lost_bumps_are_never_repeated(open_store: OpenStore, keyspace: Keyspace, pair: ReplicatedRedis) -> None:
    """A bump after the loss of others gives other tokens than they did, even if the clock stands behind the tokens."""
    ahead = f"{round((time.time() + 3_600) * 1_000_000)}0000"
    await open_store(pair.primary.url, timeout=10.0).raise_tokens(keyspace, {"1": dict.fromkeys(MODELS, ahead)})
    pair.wait_until_in_sync()
    pair.cut()
    old = open_store(pair.primary.url, timeout=10.0)
    lost = (await old.bump(keyspace, {"1": MODELS}))["1"]
    pair.fail_over()
    new = open_store(pair.primary.url, timeout=10.0)
    assert await new.read(keyspace, "1", MODELS) == dict.fromkeys(MODELS, ahead)
    bumped = (await new.bump(keyspace, {"1": MODELS}))["1"]
    # The clock's digits alone would repeat all of them; the random ones let one in ten thousand through.
    assert all(lost[model][:16] == bumped[model][:16] for model in MODELS)
    assert sum(lost[model] == bumped[model] for model in MODELS) <= 1


async def test_scripts_follow_a_failover(open_store: OpenStore, keyspace: Keyspace, pair: ReplicatedRedis) -> None:
    """What is in sync survives a failover, also to a server that has not seen the scripts by name."""
    held = await open_store(pair.primary.url, timeout=10.0).bump(keyspace, {"1": ["label"]})
    pair.wait_until_in_sync()
    pair.fail_over()
    with client_of(pair.primary) as client:
        client.script_flush()
    store = open_store(pair.primary.url, timeout=10.0)
    assert await store.read(keyspace, "1", ["label"]) == held["1"]
    assert store.bump_sync(keyspace, {"1": ["label"]})["1"]["label"] > held["1"]["label"]


async def test_helper_catches_up(open_store: OpenStore, keyspace: Keyspace, pair: ReplicatedRedis) -> None:
    """A replica that was cut off catches up, and a dead primary comes back as a replica."""
    pair.cut()
    store = open_store(pair.primary.url, timeout=10.0)
    await store.bump(keyspace, {"1": ["label"]})
    with client_of(pair.replica) as client:
        assert not client.exists(f"{keyspace.namespace}:{{1}}")
        pair.mend()
        assert client.exists(f"{keyspace.namespace}:{{1}}")
    pair.fail_over()
    pair.follow()
    with client_of(pair.replica) as client:
        assert client.exists(f"{keyspace.namespace}:{{1}}")
