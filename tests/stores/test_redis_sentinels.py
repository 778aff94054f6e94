"""The store in Redis behind three sentinels, through failovers: who calls sees no token go back that was not lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import pytest

from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore
from tests.stores.traffic import Traffic, traffic
from tests.support.redis_replication import ask, cut, is_in_sync, role_of, wait_until
from tests.support.redis_sentinels import SentinelGroup, sentinel_group

OpenStore = Callable[..., RedisStore]
TENANTS = ["1", "2"]

SOON = 30.0
"""Seconds within which every door is open again, on a busy machine; it takes 2 to 4."""


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    """Give a primary, its replica and three sentinels."""
    with sentinel_group() as group:
        yield group


@pytest.fixture
async def calls(group: SentinelGroup, open_store: OpenStore, keyspace: Keyspace) -> AsyncIterator[Traffic]:
    """Give traffic through the sentinels."""
    async with traffic(partial(open_store, group.url), keyspace, TENANTS) as calls:
        yield calls


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition while the traffic flows."""
    await asyncio.to_thread(wait_until, condition, what)


async def test_planned_failover(group: SentinelGroup, calls: Traffic) -> None:
    """A failover with writes paused and the replica in sync loses nothing; all go on with the new primary."""
    old, new = group.primary, group.replica
    ask(old, "CLIENT", "PAUSE", 3_000, "WRITE")
    await until(lambda: is_in_sync(old, new), "the replica has everything")
    group.fail_over()
    await until(lambda: group.primary is new, "the sentinels name the new primary")
    await calls.flows(TENANTS, within=SOON)
    await until(lambda: role_of(old) == "slave", "the old primary follows")
    await calls.flows(TENANTS, within=SOON)
    calls.assert_never_backward()


async def test_dead_primary(group: SentinelGroup, calls: Traffic) -> None:
    """When the primary is killed, its replica answers in seconds, and no bump repeats a token that was given before."""
    old, new = group.primary, group.replica
    old.kill()
    await calls.flows(TENANTS, within=SOON)
    await until(lambda: group.primary is new, "every sentinel has heard of it")
    old.start()
    await until(lambda: is_in_sync(new, old), "the old primary follows")
    await calls.flows(TENANTS, within=SOON)
    calls.assert_no_repeat()


async def test_dead_primary_with_a_lagging_replica(group: SentinelGroup, calls: Traffic) -> None:
    """Bumps that the replica lacked are lost with the primary, and their tokens never come back."""
    old, new = group.primary, group.replica
    cut(new)
    await calls.flows(TENANTS, within=SOON)
    old.kill()
    await calls.flows(TENANTS, within=SOON)
    await until(lambda: group.primary is new, "every sentinel has heard of it")
    calls.assert_no_repeat()


async def test_hung_primary(group: SentinelGroup, calls: Traffic) -> None:
    """When the primary hangs, every door finds the new one, and none the old one when that wakes up as a replica."""
    old = group.primary
    old.pause()
    await calls.flows(TENANTS, within=SOON)
    old.resume()
    await until(lambda: role_of(old) == "slave", "the old primary follows")
    await calls.flows(TENANTS, within=SOON)
    calls.assert_no_repeat()


async def test_dead_sentinel(group: SentinelGroup, calls: Traffic) -> None:
    """A sentinel that is killed is not missed, by calls or by the failover that the other two order."""
    group.sentinels[0].kill()
    await calls.flows(TENANTS, within=SOON)
    assert not any(calls.errors.values())
    calls.assert_never_backward()
    group.primary.kill()
    await calls.flows(TENANTS, within=SOON)
    calls.assert_no_repeat()


async def test_all_sentinels_are_remembered(group: SentinelGroup, open_store: OpenStore, keyspace: Keyspace) -> None:
    """Many calls that look for the primary at once forget no sentinel, so that any one of them may be the last."""
    store = open_store(group.url, timeout=10.0)
    changes = {"1": ["label"]}
    primary, (first, *others) = group.primary, group.sentinels

    async def call_from_many() -> None:
        ask(primary, "CLIENT", "KILL", "TYPE", "normal")
        threads = (asyncio.to_thread(store.bump_sync, keyspace, changes) for _ in range(8))
        await asyncio.gather(*(store.bump(keyspace, changes) for _ in range(16)), *threads)

    first.kill()
    for _ in range(5):
        await call_from_many()
    first.start()
    for sentinel in others:
        sentinel.kill()
    await call_from_many()
