"""The store of tokens in Redis: its keys, its scripts, its connections."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio

from cache_revalidate import ConfigurationError, Keyspace, Revalidator
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.token import is_token, next_token
from tests.support.redis_replication import client_of
from tests.support.servers import HOST, RedisServer

OpenStore = Callable[..., RedisStore]

both_layouts = pytest.mark.parametrize("layout", ["hash", "chatwoot"])
FOREIGN = [
    b"",
    b"1700000000",
    b"0000000000",
    b"\xff\xfe" * 10,
    b"9" + b"0" * 19,
    b"1" * 19,
    b"1" * 21,
    b"1" * 19 + b"\n",
    b"1" * 10 + b"\0" + b"1" * 9,
    b"-1" + b"0" * 18,
    b"1e19" + b" " * 16,
    b" " * 20,
    "\N{ARABIC-INDIC DIGIT ONE}".encode() * 10,
    b"1" * 1_000_000,
]


def key_of(keyspace: Keyspace, layout: str, tenant: str, model: str) -> str:
    """Return the key that holds a token."""
    of_layout = {"hash": f":{{{tenant}}}", "chatwoot": f":idb-cache-key-account-{tenant}-{model}"}
    return keyspace.namespace + of_layout[layout]


def put(server: RedisServer, keyspace: Keyspace, layout: str, value: bytes | str) -> None:
    """Put a value where the token of tenant 1's label belongs."""
    key = key_of(keyspace, layout, "1", "label")
    with client_of(server) as client:
        if layout == "hash":
            ends = b" %d" % (time.time_ns() // 1_000_000 + 60_000)
            client.hset(key, "label", (value.encode() if isinstance(value, str) else value) + ends)
        else:
            client.set(key, value)


@pytest.fixture
def store(open_store: OpenStore, redis_server: RedisServer, request: pytest.FixtureRequest) -> RedisStore:
    """Give a store on the shared Redis, in the test's layout."""
    layout = request.node.callspec.params.get("layout", "hash") if hasattr(request.node, "callspec") else "hash"
    return open_store(redis_server.url, layout=layout, timeout=10.0)


def test_hash_keys(open_store: OpenStore, redis_server: RedisServer, client: redis.Redis) -> None:
    """By default a tenant's tokens are the fields of one hash, whose name is the tenant's cluster hash tag."""
    revalidator = Revalidator(["label"], open_store(redis_server.url), namespace="hash-keys")
    bumped = revalidator.sync.bump(7, "label")
    assert client.keys("hash-keys*") == ["hash-keys:{7}"]
    token, ends = client.hgetall("hash-keys:{7}")["label"].split()
    assert token == bumped["label"]
    assert 0 < int(ends) - time.time_ns() // 1_000_000 <= 72 * 3_600_000


async def test_chatwoot_keys(open_store: OpenStore, redis_server: RedisServer, client: redis.Redis) -> None:
    """By option a token's key is Chatwoot's own, so that both can share one Redis."""
    store = open_store(redis_server.url, layout="chatwoot")
    bumped = await Revalidator(["label"], store, namespace="alfred").bump(7, "label")
    assert client.get("alfred:idb-cache-key-account-7-label") == bumped["label"]
    client.delete("alfred:idb-cache-key-account-7-label")


@both_layouts
async def test_one_script_call(
    layout: str, open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """A read is one command, and so is a bump of several models of several tenants, synchronous or not."""
    changes = {str(tenant): ["inbox", "label", "team"] for tenant in range(10)}
    store = open_store(redis_server_own.url, layout=layout, timeout=10.0)
    await store.bump(keyspace, changes)
    store.bump_sync(keyspace, changes)
    from_script = {"time", "type", "hmget", "hset", "get", "set", "pttl", "pexpire", "publish"}

    async def read() -> None:
        await store.read(keyspace, "1", ["inbox", "label", "team"])

    async def bump() -> None:
        await store.bump(keyspace, changes)

    async def bump_sync() -> None:
        store.bump_sync(keyspace, changes)

    with client_of(redis_server_own) as client:
        for operation in (read, bump, bump_sync):
            client.config_resetstat()
            await operation()
            commands = {name.removeprefix("cmdstat_"): of["calls"] for name, of in client.info("commandstats").items()}
            assert commands["evalsha"] == 1
            assert commands.keys() - from_script == {"evalsha", "config|resetstat"}


async def test_tokens_of_a_hash_are_forgotten_one_by_one(
    store: RedisStore, keyspace: Keyspace, client: redis.Redis
) -> None:
    """Each token lives as long as if it were alone: bumps of others, and reads, neither prolong nor shorten it."""
    brief = Keyspace(keyspace.namespace, 1.0)
    first = await store.read(brief, "1", ["inbox", "label"])
    started = time.monotonic()
    bumped: dict[str, str] = {}
    while (held := await store.read(brief, "1", ["inbox", "label"]))["inbox"] == first["inbox"]:
        assert time.monotonic() < started + 10
        if time.monotonic() > started + 0.5 and not bumped:
            bumped = (await store.bump(brief, {"1": ["label"]}))["1"]
        await asyncio.sleep(0.02)
    assert held["label"] == bumped["label"] or time.monotonic() > started + 1.4
    assert 0 < client.pttl(key_of(keyspace, "hash", "1", "label")) <= 1_000


async def test_chatwoot_expiry_is_renewed_by_bumps(
    open_store: OpenStore, redis_server: RedisServer, keyspace: Keyspace, client: redis.Redis
) -> None:
    """In Chatwoot's layout a bump renews the expiry, as Chatwoot's own does, and a read does not."""
    store = open_store(redis_server.url, layout="chatwoot")
    await store.read(keyspace, "1", ["label"])
    key = key_of(keyspace, "chatwoot", "1", "label")
    client.pexpire(key, 30_000)
    await store.read(keyspace, "1", ["label"])
    assert client.pttl(key) <= 30_000
    await store.bump(keyspace, {"1": ["label"]})
    assert 50_000 < client.pttl(key) <= 60_000


@pytest.mark.parametrize(("layout", "life"), [("hash", None), ("chatwoot", None), ("chatwoot", 3_600_000)])
async def test_no_key_outlives_the_expiry(
    layout: str, life: int | None, store: RedisStore, keyspace: Keyspace, client: redis.Redis
) -> None:
    """A key that would live for longer than the expiry, or for ever, is given the expiry when it is next read."""
    first = await store.read(keyspace, "1", ["label"])
    key = key_of(keyspace, layout, "1", "label")
    client.persist(key) if life is None else client.pexpire(key, life)
    assert await store.read(keyspace, "1", ["label"]) == first
    assert 0 < client.pttl(key) <= 60_000


@both_layouts
@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: repr(value)[:24])
async def test_foreign_value_is_a_miss(
    layout: str, value: bytes, store: RedisStore, keyspace: Keyspace, redis_server: RedisServer
) -> None:
    """A value that is no token, like one of Chatwoot's, is replaced by a token, by a read and by a bump."""
    put(redis_server, keyspace, layout, value)
    minted = await store.read(keyspace, "1", ["label"])
    assert is_token(minted["label"])
    assert await store.read(keyspace, "1", ["label"]) == minted
    put(redis_server, keyspace, layout, value)
    assert (await store.bump(keyspace, {"1": ["label"]}))["1"]["label"] > minted["label"]


@both_layouts
@pytest.mark.parametrize("kind", ["string", "hash", "list", "set", "sorted set", "stream"])
async def test_foreign_key_is_a_miss(
    layout: str, kind: str, store: RedisStore, keyspace: Keyspace, client: redis.Redis
) -> None:
    """A key of another type is replaced, by a read and by a bump, and the new one expires."""
    key = key_of(keyspace, layout, "1", "label")
    put_in: dict[str, Callable[[], object]] = {
        "string": lambda: client.set(key, "x"),
        "hash": lambda: client.hset(key, "x", "y"),
        "list": lambda: client.rpush(key, "x"),
        "set": lambda: client.sadd(key, "x"),
        "sorted set": lambda: client.zadd(key, {"x": 1}),
        "stream": lambda: client.xadd(key, {"x": "y"}),
    }
    for bumps in (False, True):
        client.delete(key)
        put_in[kind]()
        bumped = (await store.bump(keyspace, {"1": ["label"]}))["1"] if bumps else None
        held = await store.read(keyspace, "1", ["label"])
        assert is_token(held["label"])
        assert held == (bumped or held) == await store.read(keyspace, "1", ["label"])
        assert 0 < client.pttl(key) <= 60_000


@both_layouts
@pytest.mark.parametrize("clock", [4_102_444_800_000_000, 8_999_999_999_999_998, 2_000_000_000_000_001])
async def test_tokens_grow_while_the_clock_is_behind(
    layout: str, clock: int, store: RedisStore, keyspace: Keyspace, redis_server: RedisServer
) -> None:
    """After a token that is ahead of Redis' clock comes the next microsecond's, exact to the last digit."""
    held = f"{clock}9999"
    put(redis_server, keyspace, layout, held)
    assert await store.read(keyspace, "1", ["label"]) == {"label": held}
    bumped = (await store.bump(keyspace, {"1": ["label"]}))["1"]["label"]
    assert bumped[:16] == next_token(held, now=time.time_ns() // 1_000, random=0)[:16] == str(clock + 1)


async def test_redis_is_the_clock(store: RedisStore, keyspace: Keyspace, client: redis.Redis) -> None:
    """A token's first 16 digits are the microseconds of Redis' own clock."""

    def now() -> int:
        seconds, microseconds = client.time()
        return seconds * 1_000_000 + microseconds

    before = now()
    token = (await store.read(keyspace, "1", ["label"]))["label"]
    assert before <= int(token[:16]) <= now()


async def test_last_digits_are_random(store: RedisStore, keyspace: Keyspace) -> None:
    """The last four digits differ from bump to bump and from model to model."""
    tokens = [await store.bump(keyspace, {"1": ["inbox", "label"]}) for _ in range(20)]
    assert len({token[16:] for bumped in tokens for token in bumped["1"].values()}) > 20


async def test_flushed_redis_mints_anew(
    open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """A Redis that was emptied gives tokens that nobody has held before."""
    store = open_store(redis_server_own.url)
    before = await store.read(keyspace, "1", ["inbox", "label"])
    with client_of(redis_server_own) as client:
        client.flushall()
    after = await store.read(keyspace, "1", ["inbox", "label"])
    assert set(before.values()).isdisjoint(after.values())


async def test_forgotten_script_is_sent_again(store: RedisStore, keyspace: Keyspace, client: redis.Redis) -> None:
    """Reads and bumps go on when Redis has forgotten its scripts."""
    held = await store.read(keyspace, "1", ["label"])
    client.script_flush()
    assert await store.read(keyspace, "1", ["label"]) == held
    client.script_flush()
    await store.bump(keyspace, {"1": ["label"]})
    client.script_flush()
    store.bump_sync(keyspace, {"1": ["label"]})


async def test_closed_connection_is_opened_again(
    open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """A pooled connection that Redis has closed is no error."""
    store = open_store(redis_server_own.url)
    with client_of(redis_server_own) as client:
        for _ in range(3):
            store.bump_sync(keyspace, {"1": ["label"]})
            held = await store.read(keyspace, "1", ["label"])
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert await store.read(keyspace, "1", ["label"]) == held
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            store.bump_sync(keyspace, {"1": ["label"]})


async def test_many_calls_share_few_connections(
    open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """However many calls are made at once, at most 32 connections are opened."""
    store = open_store(redis_server_own.url, timeout=30.0)
    await asyncio.gather(*(store.read(keyspace, str(tenant), ["label"]) for tenant in range(500)))
    with client_of(redis_server_own) as client:
        assert len(client.client_list()) - 1 <= 32


async def test_close_closes_connections(
    open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """A closed store leaves no connection behind."""
    store = open_store(redis_server_own.url)
    await store.read(keyspace, "1", ["label"])
    store.bump_sync(keyspace, {"1": ["label"]})
    with client_of(redis_server_own) as client:
        assert len(client.client_list()) == 3
        await store.aclose()
        deadline = time.monotonic() + 10
        while len(client.client_list()) > 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def test_store_serves_several_loops(redis_server: RedisServer, keyspace: Keyspace) -> None:
    """One store serves event loops after and beside one another, and leaves no connection open when they end."""
    store = RedisStore.from_url(redis_server.url, timeout=10.0)

    async def bump() -> str:
        await asyncio.gather(*(store.read(keyspace, "1", ["label"]) for _ in range(5)))
        return (await store.bump(keyspace, {"1": ["label"]}))["1"]["label"]

    tokens = [asyncio.run(bump()) for _ in range(3)]
    threads = [threading.Thread(target=lambda: tokens.append(asyncio.run(bump()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 6
    assert not store._connections
    gc.collect()  # where an unclosed connection would warn, and warnings are errors


def test_closed_loops_are_forgotten(keyspace: Keyspace) -> None:
    """A loop that is closed without shutting down what runs in it is not kept once another one asks."""
    server = fakeredis.FakeServer()
    store = RedisStore(
        lambda: fakeredis.FakeAsyncRedis(server=server), lambda: fakeredis.FakeRedis(server=server), timeout=10
    )
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.read(keyspace, "1", ["label"]))
    loop.run_until_complete(store._connections[loop].client.aclose())
    loop.close()

    async def kept() -> set[asyncio.AbstractEventLoop]:
        await store.read(keyspace, "1", ["label"])
        return set(store._connections)

    assert loop not in asyncio.run(kept())


async def test_cancelled_call_leaves_no_answer_behind(store: RedisStore, keyspace: Keyspace) -> None:
    """A cancelled read is a CancelledError, and its answer is never given to another read."""
    of_tenants = {str(tenant): await store.read(keyspace, str(tenant), ["label"]) for tenant in range(20)}
    for _ in range(10):
        reads = {tenant: asyncio.ensure_future(store.read(keyspace, tenant, ["label"])) for tenant in of_tenants}
        await asyncio.sleep(0.001)
        for tenant in ("3", "5", "7"):
            reads[tenant].cancel()
        for tenant, read in reads.items():
            try:
                assert await read == of_tenants[tenant]
            except asyncio.CancelledError:
                assert tenant in {"3", "5", "7"}


async def test_clients_of_your_own(redis_server: RedisServer, keyspace: Keyspace) -> None:
    """A store works on clients that the app makes, also on ones that decode answers, and closes them."""
    options: dict[str, Any] = {"host": HOST, "port": redis_server.port, "decode_responses": True, "client_name": "own"}
    made = [redis.Redis(**options)]
    store = RedisStore(lambda: redis.asyncio.Redis(**options), lambda: made[0])
    held = await store.read(keyspace, "1", ["label"])
    assert store.bump_sync(keyspace, {"1": ["label"]})["1"]["label"] > held["label"]
    assert [client["name"] for client in made[0].client_list()].count("own") == 2
    await store.aclose()
    with client_of(redis_server) as client:
        deadline = time.monotonic() + 10
        while "own" in [client["name"] for client in client.client_list()]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def test_threads_share_the_first_sync_client(keyspace: Keyspace) -> None:
    """Two threads whose first bumps come at once end with one client, and the other's is closed."""
    server, barrier = fakeredis.FakeServer(), threading.Barrier(2)
    made: list[fakeredis.FakeRedis] = []

    def make_sync_client() -> fakeredis.FakeRedis:
        made.append(fakeredis.FakeRedis(server=server))
        barrier.wait(10)
        return made[-1]

    store = RedisStore(lambda: fakeredis.FakeAsyncRedis(server=server), make_sync_client)
    threads = [threading.Thread(target=store.bump_sync, args=(keyspace, {"1": ["label"]})) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert store._sync_client in made
    store.bump_sync(keyspace, {"1": ["label"]})
    asyncio.run(store.aclose())


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("redis://a", {"layout": "rails"}, 'choose "hash" or "chatwoot"'),
        ("redis+cluster://a", {"layout": "chatwoot"}, 'use layout="hash"'),
        ("redis://a", {"timeout": 0}, "timeout 0 is not a number of seconds"),
        ("redis+sentinel://a/b", {"timeout": "1"}, "timeout '1' is not"),
        ("redis://a", {"timeout": float("inf")}, "timeout inf is not"),
        ("redis://a", {"timeout": float("nan")}, "timeout nan is not"),
        ("redis://a", {"timeout": None}, "timeout None is not"),
    ],
)
def test_wrong_option(url: str, options: dict[str, Any], message: str) -> None:
    """An option that can't work is an error when the store is made."""
    with pytest.raises(ConfigurationError, match=message):
        RedisStore.from_url(url, **options)
