"""The mirror on a real Redis: what it answers while others bump, and when something breaks."""

import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio

from cache_revalidate import ConfigurationError, Keyspace, Revalidator, Store, StoreError, new_token
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.testing import CopyContract, StoreContract
from cache_revalidate.types import Tokens
from tests.docs.pages import DOCS
from tests.stores.mirrored import BELIEVED_FOR, MODELS, SOON, Mirrored, until, until_answered
from tests.support.proxy import Proxy
from tests.support.redis_replication import ask, client_of
from tests.support.servers import HOST, RedisServer, free_port

OpenStore = Callable[..., RedisStore]
OpenMirrored = Callable[..., Any]

ROOT = Path(__file__).parents[2]

AT_ONCE = 1.0
"""Seconds within which what is published is heard, on a busy machine; it takes less than a millisecond."""


def pubsub_clients(server: RedisServer) -> list[dict[str, str]]:
    """Return the connections that a server has of those who listen."""
    with client_of(server) as client:
        listening: list[dict[str, str]] = client.client_list(_type="pubsub")
        return listening


def is_right(mirrored: Mirrored, tokens: Tokens, tenant: str = "1") -> bool:
    """Say whether these are the tokens at hand."""
    return mirrored.held(tenant, list(tokens)) == tokens


# What others bump


async def bump(store: RedisStore, keyspace: Keyspace) -> Tokens:
    """Bump on the event loop."""
    return (await store.bump(keyspace, {"1": MODELS, "2": MODELS}))["1"]


async def bump_sync(store: RedisStore, keyspace: Keyspace) -> Tokens:
    """Bump by the synchronous door."""
    return store.bump_sync(keyspace, {"1": MODELS, "2": MODELS})["1"]


async def bump_in_thread(store: RedisStore, keyspace: Keyspace) -> Tokens:
    """Bump in a thread."""
    return await asyncio.to_thread(bump_sync_now, store, keyspace)


def bump_sync_now(store: RedisStore, keyspace: Keyspace) -> Tokens:
    """Bump without any event loop."""
    return store.bump_sync(keyspace, {"1": MODELS, "2": MODELS})["1"]


async def raise_tokens(store: RedisStore, keyspace: Keyspace) -> Tokens:
    """Raise a copy."""
    return (await store.raise_tokens(keyspace, {"1": {"label": new_token()}}))["1"]


async def raise_tokens_sync(store: RedisStore, keyspace: Keyspace) -> Tokens:
    """Raise a copy by the synchronous door."""
    return store.raise_tokens_sync(keyspace, {"1": {"label": new_token()}})["1"]


each_way = pytest.mark.parametrize("way", [bump, bump_sync, bump_in_thread, raise_tokens, raise_tokens_sync])


@each_way
async def test_anothers_bump_is_heard(
    way: Callable[..., Any], open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer
) -> None:
    """What another process bumps or raises is at hand in a moment, without being read."""
    here, other = await open_mirrored(redis_server.url), open_store(redis_server.url, timeout=5.0)
    await here.warm()
    for _ in range(20):
        tokens = await way(other, here.keyspace)
        await until(partial(is_right, here, tokens), "the bump is heard", AT_ONCE)
    assert here.store.mirror_stats.events >= 20


@each_way
async def test_own_bump_is_at_hand_before_it_returns(
    way: Callable[..., Any], open_mirrored: OpenMirrored, redis_server_own: RedisServer
) -> None:
    """What a store has bumped or raised itself it answers from then on, though no event has come."""
    with client_of(redis_server_own) as client:  # who publishes to nobody
        here = await open_mirrored(redis_server_own.url)
        await here.warm()
        client.execute_command("ACL", "SETUSER", "default", "-publish")
        for _ in range(5):
            tokens = await way(here.store, here.keyspace)
            assert is_right(here, tokens)
        assert here.store.mirror_stats.events == 0


async def test_drops_are_heard(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer) -> None:
    """What another process drops is not at hand in a moment; what this one drops, not when that returns."""
    here, other = await open_mirrored(redis_server.url), open_store(redis_server.url, timeout=5.0)
    await here.warm("1", "2")
    await other.drop(here.keyspace, {"1": MODELS})
    await until(lambda: here.held() is None, "the drop is heard", AT_ONCE)
    assert here.held("2") is not None
    here.store.drop_sync(here.keyspace, {"2": MODELS})
    assert here.held("2") is None


async def test_what_is_read_while_it_is_dropped_is_not_held(keyspace: Keyspace, redis_server_own: RedisServer) -> None:
    """When a drop returns, nothing is at hand that was read before Redis carried it out, though no event came."""
    ask(redis_server_own, "ACL", "SETUSER", "default", "-publish")
    proxy = Proxy(HOST, redis_server_own.port)
    async with proxy.serving() as port:
        made = partial(redis.asyncio.Redis, port=redis_server_own.port), partial(redis.Redis, port=port)
        store = RedisStore(*made, timeout=5.0, mirrored_for=60.0)
        here = Mirrored(store, Keyspace(keyspace.namespace, 240.0))
        async with store.running(here.keyspace):
            await here.warm()
            await asyncio.to_thread(store.bump_sync, here.keyspace, {"1": MODELS})
            proxy.partition()
            drop = asyncio.ensure_future(asyncio.to_thread(store.drop_sync, here.keyspace, {"1": MODELS}))
            await until(lambda: here.held() is None, "the drop is under way")
            await here.warm()
            proxy.heal()
            await drop
            assert here.held() is None


async def test_a_failed_bump_leaves_nothing_at_hand(open_mirrored: OpenMirrored, redis_server_own: RedisServer) -> None:
    """When Redis refuses a bump, whoever asks next asks Redis."""
    here = await open_mirrored(redis_server_own.url)
    await here.warm("1", "2")
    ask(redis_server_own, "CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(StoreError, match="out of memory"):
        await here.bump("1")
    assert here.held("1") is None
    assert here.held("2") is not None
    with pytest.raises(StoreError, match="out of memory"):
        here.store.bump_sync(here.keyspace, {"2": MODELS})
    assert here.held("2") is None


async def test_many_readers_and_bumpers_agree(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer
) -> None:
    """While others bump and read as fast as they can, no reader sees a token go back, and at the end all agree."""
    here, there = await open_mirrored(redis_server.url, mirrored_for=0.05), await open_mirrored(redis_server.url)
    other = open_store(redis_server.url, timeout=5.0)
    ends = time.monotonic() + 1.0
    last: dict[str, Tokens] = {}

    async def read(mirrored: Mirrored) -> None:
        seen = ""
        while time.monotonic() < ends:
            token = (await mirrored.look())["label"]
            assert token >= seen
            seen = token
            await asyncio.sleep(0)

    async def bump(store: RedisStore) -> None:
        while time.monotonic() < ends:
            for tenant, tokens in (await store.bump(here.keyspace, {"1": MODELS})).items():
                last[tenant] = max(tokens, last.get(tenant, {"label": ""}), key=lambda of: of["label"])

    await asyncio.gather(*(read(one) for one in [here, there] * 3), *(bump(one) for one in (other, there.store)))
    for mirrored in (here, there):
        await until_answered(partial(agrees, mirrored, last["1"]), "all agree", AT_ONCE)
    assert here.store.mirror_stats.hits > 0


async def agrees(mirrored: Mirrored, tokens: Tokens) -> bool:
    """Say whether these tokens are answered."""
    return await mirrored.look() == tokens


# When Redis or the way to it breaks


async def test_killed(open_mirrored: OpenMirrored, redis_server_own: RedisServer) -> None:
    """When Redis is killed nothing is at hand from then on; when it is back, tenants are mirrored again."""
    here = await open_mirrored(redis_server_own.url)
    await here.warm()
    redis_server_own.kill()
    await until(lambda: here.held() is None, "the loss is noticed", AT_ONCE)
    with pytest.raises(StoreError):
        await here.look()
    redis_server_own.start()
    await here.warm(within=10)
    assert here.store.mirror_stats.drops == 1
    assert is_right(here, await here.bump())


async def test_back_without_rights(
    open_mirrored: OpenMirrored, redis_server_own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that was away, and does not let itself be listened to when it is back, is said to do so, too."""
    here = await open_mirrored(redis_server_own.url)
    await here.warm()
    redis_server_own.kill()
    await until(lambda: here.store.mirror_stats.drops == 1, "the loss is noticed")
    redis_server_own.start()
    ask(redis_server_own, "ACL", "SETUSER", "default", "-subscribe")

    async def is_said() -> bool:
        await here.look()
        return "SUBSCRIBE" in caplog.text

    await until_answered(is_said, "the rights that are missing are named")
    assert here.held() is None


async def test_frozen(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """When Redis hangs nothing is at hand after three seconds; when it goes on, all is right again."""
    here = await open_mirrored(redis_server_own.url, timeout=1.0)
    await here.warm()
    redis_server_own.pause()
    took = await until(lambda: here.held() is None, "a ping is missed", BELIEVED_FOR + 0.5)
    assert took > BELIEVED_FOR - 1.5
    await until(lambda: here.store.mirror_stats.drops == 1, "it is counted", 5.0)
    assert "a ping was not answered within 3 s" in caplog.text
    redis_server_own.resume()
    tokens = await open_store(redis_server_own.url, timeout=10.0).bump(here.keyspace, {"1": MODELS})
    await here.warm(within=10)
    assert is_right(here, tokens["1"])


@pytest.mark.parametrize("long", [True, False])
async def test_partition(
    long: bool, open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer
) -> None:
    """When nothing goes to and fro any more, nothing is at hand after three seconds, and nothing old ever again."""
    other = open_store(redis_server.url, timeout=5.0)
    proxy = Proxy(HOST, redis_server.port)
    async with proxy.serving() as port:
        here = await open_mirrored(f"redis://{HOST}:{port}", timeout=1.0)
        await here.warm()
        before = here.held()
        proxy.partition()
        tokens = (await other.bump(here.keyspace, {"1": MODELS}))["1"]
        assert here.held() == before
        await until(lambda: here.held() is None, "a ping is missed", BELIEVED_FOR + 0.5)
        if long:
            await until(lambda: here.store.mirror_stats.drops == 1, "the line is given up", 5.0)
        proxy.heal()
        while (held := here.held()) != tokens:
            assert held is None
            await until_answered(here.look, "Redis is there again")
            await asyncio.sleep(0)
        await here.store.aclose()


async def test_short_partition(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer) -> None:
    """What was on its way during a short partition arrives after it, and nothing is lost; the lag tells of it."""
    other = open_store(redis_server.url, timeout=5.0)
    proxy = Proxy(HOST, redis_server.port)
    async with proxy.serving() as port:
        here = await open_mirrored(f"redis://{HOST}:{port}")
        await here.warm()
        proxy.partition()
        tokens = (await other.bump(here.keyspace, {"1": MODELS}))["1"]
        assert 0 < here.store.mirror_stats.lag < AT_ONCE
        await asyncio.sleep(1.5)  # in which a ping is sent
        assert not is_right(here, tokens)
        proxy.heal()
        await until(partial(is_right, here, tokens), "the bump is heard", AT_ONCE)
        await until(lambda: here.store.mirror_stats.lag > 0.4, "the lag is measured", AT_ONCE)
        assert here.store.mirror_stats.drops == 0
        await here.store.aclose()


async def test_killed_connection(open_mirrored: OpenMirrored, redis_server_own: RedisServer) -> None:
    """When Redis closes the connection of those who listen, nothing is at hand until there is another."""
    here = await open_mirrored(redis_server_own.url)
    for number in range(1, 4):
        await here.warm()
        assert ask(redis_server_own, "CLIENT", "KILL", "TYPE", "pubsub") == 1
        await until(lambda: here.held() is None, "the loss is noticed", AT_ONCE)
        tokens = await here.bump()
        await here.warm(within=5)
        assert is_right(here, tokens)
        assert here.store.mirror_stats.drops == number


async def test_overflow(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer) -> None:
    """A process that reads too slowly is cut off by Redis; it notices, and what is then at hand is right."""
    here, other = await open_mirrored(redis_server_own.url), open_store(redis_server_own.url, timeout=5.0)
    await here.warm()
    with client_of(redis_server_own) as client:
        client.config_set("client-output-buffer-limit", "pubsub 100000 0 0")
        started = time.monotonic()
        while pubsub_clients(redis_server_own):  # and the event loop can't read
            assert time.monotonic() < started + SOON
            client.publish(f"{here.keyspace.namespace}:{{1}}", "x" * 500_000)
        client.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
    tokens = other.bump_sync(here.keyspace, {"1": MODELS})["1"]
    await until(lambda: here.held() in (None, tokens), "nothing older is believed", BELIEVED_FOR)
    await here.warm()
    assert is_right(here, tokens)
    assert here.store.mirror_stats.drops == 1


CHILD = """
import asyncio, json, sys, threading, time
from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore

def say(**what):
    print(json.dumps(what), flush=True)

def watch(store, keyspace):
    before = time.monotonic()
    while True:
        held = store.held(keyspace, "1", ["label"])
        now = time.monotonic()
        if now - before > 2:
            say(gap=now - before, held=held)
        before = now
        time.sleep(0.001)

async def main():
    url, namespace = sys.argv[1:]
    store, keyspace = RedisStore.from_url(url, timeout=5, mirrored_for=60), Keyspace(namespace, 240)
    async with store.running(keyspace):
        while store.held(keyspace, "1", ["label"]) is None:
            await store.read(keyspace, "1", ["label"])
            await asyncio.sleep(0.01)
        threading.Thread(target=watch, args=(store, keyspace), daemon=True).start()
        say(ready=True)
        while True:
            if store.held(keyspace, "1", ["label"]) is None:
                say(read=await store.read(keyspace, "1", ["label"]))
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


async def test_frozen_process(open_store: OpenStore, keyspace: Keyspace, redis_server: RedisServer) -> None:
    """A process that was frozen for longer than three seconds believes nothing old when it wakes."""
    other = open_store(redis_server.url, timeout=5.0)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", CHILD, redis_server.url, keyspace.namespace]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        try:
            assert json.loads(child.stdout.readline()) == {"ready": True}
            child.send_signal(signal.SIGSTOP)
            tokens = (await other.bump(keyspace, {"1": MODELS}))["1"]
            await asyncio.sleep(BELIEVED_FOR + 0.2)
            child.send_signal(signal.SIGCONT)
            said = json.loads(await asyncio.to_thread(child.stdout.readline))
            while "gap" not in said:
                assert said == {"read": tokens}
                said = json.loads(await asyncio.to_thread(child.stdout.readline))
            assert said["gap"] > BELIEVED_FOR
            assert said["held"] in (None, tokens)
        finally:
            child.kill()


async def test_flushed(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer) -> None:
    """When Redis loses all keys, what was at hand is held for `mirrored_for` at most; then it is minted anew."""
    here = await open_mirrored(redis_server_own.url, mirrored_for=0.5)
    await here.warm()
    before = await here.look()
    ask(redis_server_own, "FLUSHALL")
    took = await until_answered(lambda: changed(here, before), "it is minted anew", 5.0)
    assert took < 0.5 + AT_ONCE
    assert (await here.look())["label"] > before["label"]


async def changed(mirrored: Mirrored, before: Tokens) -> bool:
    """Say whether something else is answered than before."""
    return await mirrored.look() != before


async def test_what_is_minted_elsewhere_is_heard(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer
) -> None:
    """When a reader finds a token missing and mints another, all hear of it."""
    here, other = await open_mirrored(redis_server_own.url), open_store(redis_server_own.url, timeout=5.0)
    await here.warm()
    ask(redis_server_own, "FLUSHALL")
    minted = await other.read(here.keyspace, "1", MODELS)
    await until(partial(is_right, here, minted), "the minted token is heard", AT_ONCE)


async def test_garbage(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer) -> None:
    """What others publish on a tenant's channel and is no news of tokens is passed over."""
    here, other = await open_mirrored(redis_server.url), open_store(redis_server.url, timeout=5.0)
    await here.warm()
    tokens = await here.look()
    token = tokens["label"]
    garbage = [
        b"",
        b"\xff\xfe",
        b"label",
        b"label ",
        b"label 12",
        b"label 9" + b"9" * 19,
        f"label {token}0".encode(),
        f" label {token[:-1]}9".encode(),
        b"inbox 0" + b"1" * 19,
        b"inbox -",
        b"label\n" + b"8" * 20,
        b"x" * 1_000_000,
        b"label 0" * 10_000,
        f"label {'0' * 20}".encode(),
    ]
    with client_of(redis_server) as client:
        for message in garbage:
            assert client.publish(f"{here.keyspace.namespace}:{{1}}", message) == 1
    events = here.store.mirror_stats.events
    await until(lambda: here.store.mirror_stats.events >= events + len(garbage), "all has been heard")
    assert is_right(here, tokens)
    tokens = (await other.bump(here.keyspace, {"1": MODELS}))["1"]
    await until(partial(is_right, here, tokens), "the bump is heard", AT_ONCE)
    assert here.store.mirror_stats.drops == 0


@pytest.mark.parametrize("layout", ["hash", "chatwoot"])
@pytest.mark.parametrize("databases", [(0, 1), (1, 0)])
async def test_another_database(
    databases: tuple[int, int],
    layout: str,
    open_mirrored: OpenMirrored,
    open_store: OpenStore,
    redis_server: RedisServer,
) -> None:
    """What an app of the same namespace bumps in another database of this Redis is none of this one's tokens."""
    url, other_url = (f"redis://{HOST}:{redis_server.port}/{number}" for number in databases)
    options: dict[str, Any] = {"layout": layout, "mirrored_tenants": 10, "timeout": 5.0}
    here = await open_mirrored(url, **options)
    beside, other = open_store(url, **options), open_store(other_url, **options)
    await here.warm()
    tokens, events = await here.look(), here.store.mirror_stats.events
    await other.read(here.keyspace, "1", MODELS)
    await other.bump(here.keyspace, {"1": MODELS})
    await other.drop(here.keyspace, {"1": MODELS})
    await beside.bump(here.keyspace, {"1": ["team"]})
    await until(lambda: here.store.mirror_stats.events > events, "its own database's bump is heard")
    assert here.store.mirror_stats.events == events + 1
    assert is_right(here, tokens)


# Much at once

BUMPER = """
import asyncio, json, sys
from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore

async def main():
    url, namespace, count = sys.argv[1:]
    store, keyspace = RedisStore.from_url(url, timeout=30), Keyspace(namespace, 240)
    left = iter(range(int(count)))
    async def bump():
        for i in left:
            await store.bump(keyspace, {str(i % 10): ["label"]})
    await asyncio.gather(*(bump() for _ in range(16)))
    await store.aclose()

asyncio.run(main())
"""


async def test_flood(open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer) -> None:
    """After a flood of bumps from another process the last of each tenant is at hand; the app was never held up."""
    here, other = await open_mirrored(redis_server.url), open_store(redis_server.url, timeout=5.0)
    tenants = [str(tenant) for tenant in range(10)]
    await here.warm(*tenants)
    events = here.store.mirror_stats.events
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BUMPER, redis_server.url, here.keyspace.namespace, "20000", env=environment
    )
    memory = resident_bytes()
    ended = asyncio.ensure_future(child.wait())
    longest = 0.0
    while not ended.done():
        longest = max(longest, await turn(0.005))
    memory = resident_bytes() - memory
    assert await ended == 0
    for tenant in tenants:
        tokens = await other.read(here.keyspace, tenant, MODELS)
        await until(partial(is_right, here, tokens, tenant), "the last is heard", AT_ONCE)
    assert here.store.mirror_stats.events == events + 20_000
    assert here.store.mirror_stats.drops == 0
    assert memory < 5_000_000
    assert longest < 0.02


def resident_bytes() -> int:
    """Return how much memory this process takes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def turn(seconds: float) -> float:
    """Let others have their turns; return for how long, by this thread's own clock, they have kept the loop busy."""
    before = time.thread_time()
    await asyncio.sleep(seconds)
    return time.thread_time() - before


async def test_a_backlog_holds_nothing_up(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server: RedisServer
) -> None:
    """What has gathered while the event loop was busy is heard bit by bit, and others have their turns in between."""
    here = await open_mirrored(redis_server.url)
    await here.warm()
    with client_of(redis_server) as client:
        pipeline = client.pipeline(transaction=False)
        for _ in range(20_000):
            pipeline.publish(f"{here.keyspace.namespace}:{{1}}", f"label {new_token()}")
        pipeline.execute()
    longest = 0.0
    while here.store.mirror_stats.events < 20_000:
        longest = max(longest, await turn(0))
    assert longest < 0.02


async def test_ten_thousand_tenants(open_mirrored: OpenMirrored, redis_server_own: RedisServer) -> None:
    """Of ten thousand tenants that are asked for, no more are subscribed to than allowed, and all answers are right."""
    most, tenants = 1_000, [str(tenant) for tenant in range(10_000)]
    here = await open_mirrored(redis_server_own.url, mirrored_tenants=most, timeout=30.0)
    tokens = await here.store.bump(here.keyspace, dict.fromkeys(tenants, MODELS))
    with client_of(redis_server_own) as client:
        for start in range(0, len(tenants), 100):
            some = tenants[start : start + 100]
            for _ in range(2):
                answers = await asyncio.gather(*map(here.look, some))
                assert answers == [tokens[tenant] for tenant in some]
            assert len(client.pubsub_channels()) <= most
        stats = here.store.mirror_stats
        await here.warm(*tenants[-100:])
        assert stats.tenants == most
        assert stats.evicted == len(tenants) - most
        assert len(client.pubsub_channels()) == most
    assert len(here.store._mirroring._mirrors[here.keyspace.namespace]._asked) <= most


# Apps that come and go


async def test_one_connection_for_two_namespaces(open_store: OpenStore, redis_server_own: RedisServer) -> None:
    """Two apps in one process, with a store in common, listen over one connection, which the last one closes."""
    store = open_store(redis_server_own.url, timeout=5.0)
    first, second = (Mirrored(store, Keyspace(name, 240.0)) for name in ("first", "second"))
    async with store.running(first.keyspace):
        async with store.running(second.keyspace):
            await first.warm("1", "2")
            await second.warm("1", "2")
            assert len(pubsub_clients(redis_server_own)) == 1
            assert store.mirror_stats.tenants == 4
            tokens = await second.bump()
            assert is_right(second, tokens)
            assert not is_right(first, tokens)
        assert second.held() is None
        assert store.mirror_stats.tenants == 2
        assert first.held() is not None
        await first.warm("3")
        await until(lambda: len(ask(redis_server_own, "PUBSUB", "CHANNELS")) == 3, "the others are left")
    await until(lambda: pubsub_clients(redis_server_own) == [], "the connection is closed")


async def test_nothing_is_left(open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer) -> None:
    """When the app ends, no task, connection or tenant is left, and it may start again."""
    store = open_store(redis_server_own.url, timeout=5.0)
    mirrored = Mirrored(store, keyspace)
    tasks = asyncio.all_tasks()
    for _ in range(3):
        async with store.running(keyspace):
            assert mirrored.held() is None
            await mirrored.warm("1", "2")
            assert len(asyncio.all_tasks()) > len(tasks)
        assert asyncio.all_tasks() == tasks
        assert mirrored.held() is None
        assert store.mirror_stats.tenants == 0
        assert await mirrored.look()
        await store.aclose()
        await until(lambda: len(ask(redis_server_own, "CLIENT", "LIST").splitlines()) == 1, "no connection is left")
    gc.collect()
    assert store.mirror_stats.drops == 0


async def test_the_connection_is_closed_when_nobody_listens(
    open_mirrored: OpenMirrored, redis_server_own: RedisServer
) -> None:
    """Before the first tenant is asked for again there is no connection for listening."""
    here = await open_mirrored(redis_server_own.url)
    await here.look("1")
    await here.look("2")
    assert pubsub_clients(redis_server_own) == []
    await here.warm("1")
    assert len(pubsub_clients(redis_server_own)) == 1


async def test_an_app_that_fails_leaves_nothing(
    open_store: OpenStore, keyspace: Keyspace, redis_server: RedisServer
) -> None:
    """An exception inside ends the mirroring like any other end."""
    store = open_store(redis_server.url, timeout=5.0)
    mirrored = Mirrored(store, keyspace)
    tasks = asyncio.all_tasks()

    async def app() -> None:
        async with store.running(keyspace):
            await mirrored.warm()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await app()
    assert mirrored.held() is None
    assert asyncio.all_tasks() == tasks


async def test_a_second_loop(open_mirrored: OpenMirrored, redis_server: RedisServer) -> None:
    """An app on another event loop of the process asks Redis; it raises what is held, and leaves it when it ends."""
    here: Mirrored = await open_mirrored(redis_server.url)
    await here.warm()

    async def app() -> Tokens:
        async with here.store.running(here.keyspace):
            for _ in range(3):
                await here.store.read(here.keyspace, "1", MODELS)
                await here.store.read(here.keyspace, "2", MODELS)
            return await here.bump()

    tokens = await asyncio.to_thread(asyncio.run, app())
    assert is_right(here, tokens)
    assert here.store.mirror_stats.tenants == 1


def test_a_loop_that_was_abandoned(redis_server: RedisServer) -> None:
    """An app whose event loop was closed without ending it does not keep the next one from mirroring."""
    store = RedisStore.from_url(redis_server.url, timeout=5.0)
    mirrored = Mirrored(store, Keyspace(uuid.uuid4().hex, 240.0))
    loop = asyncio.new_event_loop()
    running = store.running(mirrored.keyspace)
    loop.run_until_complete(running.__aenter__())
    loop.run_until_complete(store.aclose())
    loop.close()

    async def app() -> None:
        async with store.running(mirrored.keyspace):
            await mirrored.warm()
            assert store.mirror_stats.tenants == 1

    asyncio.run(app())


FORKING = """
import asyncio, os, sys
from cache_revalidate import Keyspace
from cache_revalidate.stores.redis import RedisStore

url, namespace = sys.argv[1:]
store, keyspace = RedisStore.from_url(url, timeout=30), Keyspace(namespace, 240)

async def warm():
    async with asyncio.timeout(20):
        while store.held(keyspace, "1", ["label"]) is None:
            await store.read(keyspace, "1", ["label"])
            await asyncio.sleep(0.01)

async def app():
    async with store.running(keyspace):
        assert store.held(keyspace, "1", ["label"]) is None
        await warm()
        assert store.mirror_stats.tenants == 1

loop = asyncio.new_event_loop()
running = store.running(keyspace)
loop.run_until_complete(running.__aenter__())
loop.run_until_complete(warm())
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asyncio.run(app())
"""


async def test_a_fork(redis_server: RedisServer, keyspace: Keyspace) -> None:
    """A process that was forked off one that mirrors holds nothing of it when its own app starts, and mirrors too."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING, redis_server.url, keyspace.namespace]
    forked = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert forked.returncode == 0, forked.stderr


async def test_switched_off(open_mirrored: OpenMirrored, redis_server_own: RedisServer) -> None:
    """With `mirrored_tenants=0` nobody listens, and all is read."""
    here = await open_mirrored(redis_server_own.url, mirrored_tenants=0)
    for _ in range(5):
        await here.look()
    assert here.held() is None
    assert pubsub_clients(redis_server_own) == []


async def test_chatwoots_layout(
    open_mirrored: OpenMirrored, open_store: OpenStore, redis_server_own: RedisServer
) -> None:
    """In Chatwoot's layout nothing is mirrored unless that is asked for: Chatwoot publishes nothing."""
    plain = await open_mirrored(redis_server_own.url, layout="chatwoot")
    for _ in range(5):
        await plain.look()
    assert plain.held() is None
    assert pubsub_clients(redis_server_own) == []
    mirrored = await open_mirrored(redis_server_own.url, layout="chatwoot", mirrored_tenants=10)
    await mirrored.warm()
    tokens = await plain.bump()
    await until(partial(is_right, mirrored, tokens), "the bump is heard", AT_ONCE)
    await plain.store.drop(plain.keyspace, {"1": MODELS})
    await until(lambda: mirrored.held() is None, "the drop is heard", AT_ONCE)


@pytest.mark.parametrize("number", [-1, 1.5, True, "many"])
def test_a_number_of_tenants_that_is_none(number: object) -> None:
    """What is no number of tenants is refused."""
    with pytest.raises(ConfigurationError, match="is not a number of tenants"):
        RedisStore.from_url("redis://host", mirrored_tenants=number)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, 61, float("nan"), float("inf"), True, "long"])
def test_seconds_that_are_none(seconds: object) -> None:
    """What is no number of seconds up to a minute is refused."""
    with pytest.raises(ConfigurationError, match="is not a number of seconds"):
        RedisStore.from_url("redis://host", mirrored_for=seconds)  # type: ignore[arg-type]


# Clients and servers of all kinds


@asynccontextmanager
async def plain(_: Path) -> AsyncIterator[tuple[str, RedisServer]]:
    """Give a Redis without anything special."""
    with RedisServer() as server:
        yield server.url, server


@asynccontextmanager
async def password(_: Path) -> AsyncIterator[tuple[str, RedisServer]]:
    """Give one that wants a user and a password."""
    with RedisServer("--user", "app", "on", ">secret", "~*", "&*", "+@all", "--user", "default", "off") as server:
        yield f"redis://app:secret@{HOST}:{server.port}/3", server


@asynccontextmanager
async def unix(folder: Path) -> AsyncIterator[tuple[str, RedisServer]]:
    """Give one on a Unix socket."""
    with RedisServer("--unixsocket", str(folder / "redis.sock")) as server:
        yield f"unix://{folder / 'redis.sock'}", server


@pytest.mark.parametrize("kind", [plain, password, unix])
async def test_kinds(kind: Callable[..., Any], open_mirrored: OpenMirrored, tmp_path: Path) -> None:
    """Tenants are mirrored with a password, in a database of any number, and over a Unix socket."""
    async with kind(tmp_path) as (url, _):
        await works(await open_mirrored(url), await open_mirrored(url))


async def works(here: Mirrored, other: Mirrored) -> None:
    """Show that a store mirrors what another bumps."""
    await here.warm()
    tokens = await other.bump()
    await until(partial(is_right, here, tokens), "the bump is heard", AT_ONCE)
    await here.store.aclose()
    await other.store.aclose()


async def test_tls(open_mirrored: OpenMirrored, certificate: tuple[Path, Path]) -> None:
    """Tenants are mirrored over TLS."""
    port = free_port()
    certificate_file, key_file = map(str, certificate)
    files = ["--tls-cert-file", certificate_file, "--tls-key-file", key_file, "--tls-ca-cert-file", certificate_file]
    with RedisServer("--tls-port", str(port), *files, "--tls-auth-clients", "no"):
        url = f"rediss://{HOST}:{port}?ssl_ca_certs={certificate_file}"
        await works(await open_mirrored(url), await open_mirrored(url))


def own_clients(server: RedisServer) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Give redis-py's clients as they come."""
    return partial(redis.asyncio.Redis, port=server.port), partial(redis.Redis, port=server.port)


def decoding_clients(server: RedisServer) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Give clients that talk RESP3 and decode what they are answered."""
    options: dict[str, Any] = {"port": server.port, "protocol": 3, "decode_responses": True, "health_check_interval": 1}
    return partial(redis.asyncio.Redis, **options), partial(redis.Redis, **options)


def pooled_clients(server: RedisServer) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Give clients of a pool that lets them wait."""
    return (
        lambda: redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool.from_url(server.url)),
        lambda: redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(server.url)),
    )


def fake_clients(server: RedisServer) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Give clients of a fake server."""
    fake = fakeredis.FakeServer()
    return partial(fakeredis.FakeAsyncRedis, server=fake), partial(fakeredis.FakeRedis, server=fake)


@pytest.mark.parametrize("clients", [own_clients, decoding_clients, pooled_clients, fake_clients])
async def test_own_clients(clients: Callable[..., Any], keyspace: Keyspace, redis_server: RedisServer) -> None:
    """Tenants are mirrored with clients of the user's own making, whatever their options."""
    made = clients(redis_server)
    here, other = RedisStore(*made, timeout=5.0), RedisStore(*made, timeout=5.0)
    async with here.running(keyspace):
        await works(Mirrored(here, keyspace), Mirrored(other, keyspace))


async def test_no_client(keyspace: Keyspace, caplog: pytest.LogCaptureFixture) -> None:
    """An app whose client can't be made starts all the same; its reads are StoreErrors."""

    def make(*_: Any) -> Any:
        raise RuntimeError("no client today")

    store = RedisStore(make, make, name="the moon")
    async with store.running(keyspace):
        for _ in range(3):
            with pytest.raises(StoreError, match="no client today"):
                await store.read(keyspace, "1", MODELS)
        assert store.held(keyspace, "1", MODELS) is None


async def test_a_cluster_that_is_away_from_the_start(keyspace: Keyspace, open_store: OpenStore) -> None:
    """Where no node of a cluster is known yet, reads are StoreErrors, however hot the tenant is."""
    store = open_store(f"redis+cluster://{HOST}:{free_port()}", mirrored_for=60.0)
    wide = Keyspace(keyspace.namespace, 240.0)
    async with store.running(wide):
        for _ in range(4):
            with pytest.raises(StoreError, match="cannot be connected"):
                await store.read(wide, "1", MODELS)
            store._resume_at = 0.0  # as if the pause were over
        assert store.mirror_stats.tenants == 1
        assert store.held(wide, "1", MODELS) is None


def test_no_event_loop(keyspace: Keyspace, redis_server: RedisServer) -> None:
    """An app that runs on trio, where redis-py can't, starts and ends all the same; its reads are StoreErrors."""
    revalidator = Revalidator(["label"], RedisStore.from_url(redis_server.url), namespace=keyspace.namespace)

    async def app() -> None:
        async with revalidator.lifespan():
            with pytest.raises(StoreError, match="needs asyncio"):
                await revalidator.tokens(1)

    with pytest.raises(StopIteration):
        app().send(None)


async def test_a_client_that_can_not_listen(
    keyspace: Keyspace, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A client whose connections can't be made a second time reads, and one warning says that nothing is mirrored."""

    def make() -> redis.asyncio.Redis:
        client = redis.asyncio.Redis(port=redis_server.port, decode_responses=True)
        connection_class: Any = client.connection_pool.connection_class

        def once(**options: Any) -> Any:
            if not options["decode_responses"]:
                raise TypeError("no more")
            return connection_class(**options)

        client.connection_pool.connection_class = once  # type: ignore[assignment]
        return client

    store = RedisStore(make, partial(redis.Redis, port=redis_server.port), timeout=5.0)
    async with store.running(keyspace):
        for _ in range(10):
            await store.read(keyspace, "1", MODELS)
            await asyncio.sleep(0)
        assert store.held(keyspace, "1", MODELS) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "TypeError: no more" in caplog.text


async def test_listening_is_no_part_of_a_request(keyspace: Keyspace, redis_server: RedisServer) -> None:
    """What listens outlives the request that began it, and sees none of its context: no trace, no user in a log."""
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: list[str] = []

    def make() -> redis.asyncio.Redis:
        client = redis.asyncio.Redis(port=redis_server.port)
        connection_class: Any = client.connection_pool.connection_class

        def noting(**options: Any) -> Any:
            seen.append(user.get())
            return connection_class(**options)

        client.connection_pool.connection_class = noting  # type: ignore[assignment]
        return client

    store = RedisStore(make, partial(redis.Redis, port=redis_server.port), timeout=5.0)
    async with store.running(keyspace):
        user.set("ann")
        await Mirrored(store, keyspace).warm()
    assert seen == ["ann", "nobody"]


# Rights


ENOUGH = "+eval +evalsha +ping +publish +subscribe +unsubscribe +time +type +hmget +hset +hdel +del +pttl +pexpire"
"""The rights that docs/mirror.md names."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """Give a Redis with users who may do this and not that."""
    users = {
        "silent": ["resetchannels", "+@all"],
        "deaf": ["&*", "+@all", "-subscribe"],
        "enough": ["resetchannels", "&cache_revalidate:*", "-@all", *ENOUGH.split()],
    }
    arguments = [part for name, rights in users.items() for part in ("--user", name, "on", ">pw", "~*", *rights)]
    with RedisServer(*arguments) as server:
        yield server


@pytest.mark.parametrize("user", ["silent", "deaf"])
async def test_rights(
    user: str, open_mirrored: OpenMirrored, guarded: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A user who may not publish, or not listen, bumps and reads; the log says once what to allow."""
    here = await open_mirrored(f"redis://{user}:pw@{HOST}:{guarded.port}")
    for _ in range(5):
        tokens = await here.bump()
        assert await here.look() == tokens
        here.store.bump_sync(here.keyspace, {"1": MODELS})
        await asyncio.sleep(0.02)
    assert here.held() is None
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == {"silent": ["ERROR", "WARNING"], "deaf": ["WARNING"]}[user]
    for level, message in said:
        assert ("ACL SETUSER app '&cache_revalidate:*'" if level == "ERROR" else "SUBSCRIBE") in message
    assert here.store.mirror_stats.drops == 0


async def test_enough_rights(open_store: OpenStore, guarded: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The rights that the documentation names are enough."""
    assert f"&cache_revalidate:* {ENOUGH}\n" in (DOCS / "mirror.md").read_text()
    keyspace = Keyspace("cache_revalidate", 240.0)
    url = f"redis://enough:pw@{HOST}:{guarded.port}"
    here, other = (open_store(url, timeout=5.0) for _ in range(2))
    async with here.running(keyspace):
        await works(Mirrored(here, keyspace), Mirrored(other, keyspace))
        await here.peek(keyspace, "1", MODELS)
        await here.raise_tokens(keyspace, {"1": {"label": new_token()}})
        await here.drop(keyspace, {"1": MODELS})
    assert caplog.records == []


# The contracts, answered from memory where that is possible


class HeldFirst(RedisStore):
    """A store that is asked as a revalidator asks it: what is at hand first."""

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return what is at hand, or what Redis holds."""
        held = self.held(keyspace, tenant, models)
        return await super().read(keyspace, tenant, models) if held is None else held

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return what is at hand, or what Redis holds."""
        held = self.held(keyspace, tenant, models)
        return await super().peek(keyspace, tenant, models) if held is None else held


class TestMirroredRedisStore(StoreContract, CopyContract):
    """The store on a real Redis, while its app runs."""

    @pytest.fixture
    async def store(self, redis_server: RedisServer, keyspace: Keyspace) -> AsyncIterator[Store]:
        """Give a store that mirrors the test's keyspace."""
        store = HeldFirst.from_url(redis_server.url, timeout=10)
        async with store.running(keyspace):
            yield store


class TestMirroredRedisStoreInChatwootsLayout(StoreContract, CopyContract):
    """The same in Chatwoot's own keys."""

    @pytest.fixture
    async def store(self, redis_server: RedisServer, keyspace: Keyspace) -> AsyncIterator[Store]:
        """Give a store that mirrors the test's keyspace."""
        store = HeldFirst.from_url(redis_server.url, timeout=10, layout="chatwoot", mirrored_tenants=100)
        async with store.running(keyspace):
            yield store


async def test_a_copy_is_never_answered_past_its_expiry(
    open_store: OpenStore, keyspace: Keyspace, redis_server: RedisServer
) -> None:
    """Read at the last moment or not, mirrored or not: a copy is forgotten when its expiry is over."""
    # So that something is read shortly before the expiry is over, whoever reads as soon as nothing is at hand.
    store = open_store(redis_server.url, timeout=5.0, mirrored_for=0.145)
    brief = Keyspace(keyspace.namespace, 0.6)
    async with store.running(brief):
        mirrored = Mirrored(store, brief)
        for _ in range(5):
            raised = time.monotonic()
            tokens = (await store.raise_tokens(brief, {"1": {"label": new_token()}}))["1"]
            hits = store.mirror_stats.hits
            while True:
                asked = time.monotonic()
                answer = mirrored.held() or await store.peek(brief, "1", MODELS)
                if answer != tokens:
                    break
                assert asked < raised + 0.6 + 0.05  # for the raise itself
                await asyncio.sleep(0)
            assert answer == {}
            assert store.mirror_stats.hits > hits


async def test_threads(open_mirrored: OpenMirrored, redis_server: RedisServer) -> None:
    """From any thread what is at hand may be asked for and raised, while the event loop reads: none goes back."""
    here = await open_mirrored(redis_server.url, mirrored_for=0.02)
    ends = time.monotonic() + 1.0

    def watch() -> None:
        seen = ""
        while time.monotonic() < ends:
            token = (here.held() or {"label": seen})["label"]
            assert token >= seen
            seen = token

    def bump() -> None:
        while time.monotonic() < ends:
            bumped = here.store.bump_sync(here.keyspace, {"1": MODELS})["1"]
            assert (here.held() or bumped)["label"] >= bumped["label"]

    async def read() -> None:
        while time.monotonic() < ends:
            await here.store.read(here.keyspace, "1", MODELS)

    await asyncio.gather(read(), *map(asyncio.to_thread, (watch, watch, bump, bump)))
    assert here.store.mirror_stats.hits > 0


def test_the_log_is_quiet_when_nothing_is_wrong(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """An app that starts, mirrors and ends logs nothing."""
    store = RedisStore.from_url(redis_server.url, timeout=5.0)
    mirrored = Mirrored(store, Keyspace(uuid.uuid4().hex, 240.0))

    async def app() -> None:
        async with store.running(mirrored.keyspace):
            await mirrored.warm()

    with caplog.at_level(logging.DEBUG, "cache_revalidate"):
        asyncio.run(app())
    assert caplog.records == []
