"""What the store in Redis does when Redis is away, hung, or won't."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from cache_revalidate import Keyspace, Revalidator, StoreError, new_token
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.stores.redis.errors import store_error
from tests.support.redis_replication import client_of
from tests.support.servers import HOST, RedisServer, free_port

OpenStore = Callable[..., RedisStore]
Operation = Callable[[RedisStore, Keyspace], Awaitable[object]]


async def read(store: RedisStore, keyspace: Keyspace) -> object:
    """Read a token."""
    return await store.read(keyspace, "1", ["label"])


async def bump(store: RedisStore, keyspace: Keyspace) -> object:
    """Bump it."""
    return await store.bump(keyspace, {"1": ["label"]})


async def bump_sync(store: RedisStore, keyspace: Keyspace) -> object:
    """Bump it without the event loop."""
    return await asyncio.to_thread(store.bump_sync, keyspace, {"1": ["label"]})


async def check(store: RedisStore, keyspace: Keyspace) -> object:
    """Check that Redis is there."""
    await store.check()
    return None


each_operation = pytest.mark.parametrize("operation", [read, bump, bump_sync, check])


async def until_it_works(operation: Operation, store: RedisStore, keyspace: Keyspace) -> float:
    """Repeat an operation until it does not fail; return how many seconds that took."""
    started = time.monotonic()
    while True:
        try:
            await operation(store, keyspace)
        except StoreError:
            assert time.monotonic() < started + 10
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - started


@pytest.fixture(scope="module")
def locked_server() -> Iterator[RedisServer]:
    """Give a Redis that wants a password, and has a guest who may do little."""
    guest = ["--user", "guest", "on", ">guest", "~*", "+client", "+ping"]
    with RedisServer("--requirepass", "open sesame", *guest) as server:
        yield server


@each_operation
async def test_unreachable(operation: Operation, open_store: OpenStore, keyspace: Keyspace) -> None:
    """A Redis that is not there is a StoreError at once, which names its address and the mend, not the password."""
    port = free_port()
    store = open_store(f"redis://ann:secret@{HOST}:{port}", timeout=10.0)
    started = time.monotonic()
    with pytest.raises(StoreError, match="is it running, and is the URL right") as caught:
        await operation(store, keyspace)
    assert time.monotonic() - started < 2
    assert f"redis://{HOST}:{port} " in str(caught.value)
    assert "secret" not in str(caught.value)


@each_operation
async def test_unknown_host(operation: Operation, open_store: OpenStore, keyspace: Keyspace) -> None:
    """A host name that nobody knows is a StoreError."""
    with pytest.raises(StoreError, match=r"redis://no-such-host\.invalid:6379"):
        await operation(open_store("redis://no-such-host.invalid", timeout=5.0), keyspace)


@each_operation
@pytest.mark.parametrize(
    ("user", "message"),
    [("", "password"), (":wrong@", "mend the user and the password"), ("ann:wrong@", "mend the user and the password")],
)
async def test_wrong_password(
    operation: Operation,
    user: str,
    message: str,
    open_store: OpenStore,
    keyspace: Keyspace,
    locked_server: RedisServer,
) -> None:
    """A wrong or missing password is a StoreError that says so and does not repeat it."""
    store = open_store(f"redis://{user}{HOST}:{locked_server.port}", timeout=10.0)
    with pytest.raises(StoreError, match=message) as caught:
        await operation(store, keyspace)
    assert "wrong" not in str(caught.value)


@each_operation
async def test_right_password(
    operation: Operation, open_store: OpenStore, keyspace: Keyspace, locked_server: RedisServer
) -> None:
    """A percent-encoded password in the URL signs in."""
    await operation(open_store(f"redis://:open%20sesame@{HOST}:{locked_server.port}", timeout=10.0), keyspace)


async def test_forbidden_script(open_store: OpenStore, keyspace: Keyspace, locked_server: RedisServer) -> None:
    """A user who may not run scripts is a StoreError that says what to allow."""
    store = open_store(f"redis://guest:guest@{HOST}:{locked_server.port}", timeout=10.0)
    await store.check()
    with pytest.raises(StoreError, match="allow the user EVAL, EVALSHA"):
        await read(store, keyspace)


async def test_replica(open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer) -> None:
    """A replica refuses bumps with a StoreError that says so, and goes on answering reads."""
    store = open_store(redis_server_own.url, timeout=10.0)
    held = await store.bump(keyspace, {"1": ["label"]})
    with client_of(redis_server_own) as client:
        client.replicaof(HOST, free_port())
    for operation in (bump, bump_sync):
        with pytest.raises(StoreError, match="is a replica"):
            await operation(store, keyspace)
    assert await store.read(keyspace, "1", ["label"]) == held["1"]


async def test_full_memory(open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer) -> None:
    """A full Redis refuses bumps with a StoreError that says so, and goes on answering reads."""
    store = open_store(redis_server_own.url, timeout=10.0)
    held = await store.bump(keyspace, {"1": ["label"]})
    with client_of(redis_server_own) as client:
        client.config_set("maxmemory", 1)
    for operation in (bump, bump_sync):
        with pytest.raises(StoreError, match="is out of memory"):
            await operation(store, keyspace)
    assert await store.read(keyspace, "1", ["label"]) == held["1"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (redis.BusyLoadingError(), "still loading"),
        (redis.ResponseError("NOAUTH HELLO must be called"), "wants a password"),
        (redis.exceptions.AuthorizationError("no"), "mend the user"),
        (redis.exceptions.RedisClusterException("odd"), "failed: RedisClusterException: odd"),
        (redis.TimeoutError("late"), "did not answer within 0.5 s"),
        (RuntimeError("no running event loop"), "needs asyncio"),
    ],
)
def test_message(error: Exception, message: str) -> None:
    """Each kind of failure is said in words that name the server."""
    assert message in str(store_error(error, "redis://a:1", 0.5))
    assert "Redis at redis://a:1 " in str(store_error(error, "redis://a:1", 0.5))


@each_operation
async def test_hung(
    operation: Operation, open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """A Redis that hangs is a StoreError after the time-out, whether it was connected before or not."""
    fresh, connected = (open_store(redis_server_own.url, timeout=1.0) for _ in range(2))
    await operation(connected, keyspace)
    redis_server_own.pause()

    async def fails(store: RedisStore) -> None:
        started = time.monotonic()
        with pytest.raises(StoreError, match="did not answer within 1 s"):
            await operation(store, keyspace)
        assert 0.9 < time.monotonic() - started < 1.9  # a second try would take two seconds

    await asyncio.gather(fails(connected), fails(fresh))
    redis_server_own.resume()
    await until_it_works(operation, connected, keyspace)


async def test_outage_costs_one_timeout(
    open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """While Redis hangs, reads fail at once; now and then one of them tries again, and then all work."""
    store = open_store(redis_server_own.url, timeout=1.0)
    await read(store, keyspace)
    redis_server_own.pause()
    took: list[float] = []

    async def failing_read() -> None:
        started = time.monotonic()
        with pytest.raises(StoreError, match="did not answer"):
            await read(store, keyspace)
        took.append(time.monotonic() - started)

    await asyncio.gather(*(failing_read() for _ in range(200)))
    assert max(took) < 1.9
    took.clear()
    await asyncio.gather(*(failing_read() for _ in range(200)))
    assert max(took) < 0.8
    await asyncio.sleep(1.0)
    took.clear()
    await asyncio.gather(*(failing_read() for _ in range(200)))
    assert sorted(duration > 0.8 for duration in took) == [False] * 199 + [True]
    redis_server_own.resume()
    assert await until_it_works(read, store, keyspace) < 3
    # On a busy machine two hundred at once may outlast the time-out, though Redis is well.
    await asyncio.gather(*(until_it_works(read, store, keyspace) for _ in range(200)))


@pytest.mark.parametrize("operation", [bump, bump_sync, check])
async def test_success_ends_the_outage(
    operation: Operation, open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """As soon as a bump or a check finds Redis back, reads ask it again."""
    store = open_store(redis_server_own.url)
    redis_server_own.kill()
    with pytest.raises(StoreError):
        await read(store, keyspace)
    redis_server_own.start()
    with pytest.raises(StoreError):
        await read(store, keyspace)
    await operation(store, keyspace)
    await read(store, keyspace)


async def test_owed_bump_does_not_slow_reads(open_store: OpenStore, redis_server_own: RedisServer) -> None:
    """While Redis hangs and a bump is owed, reads fail at once all the same, and it is paid when Redis is back."""
    revalidator = Revalidator(["label"], open_store(redis_server_own.url, timeout=1.0))
    before = await revalidator.tokens(1)
    redis_server_own.pause()
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    started = time.monotonic()
    for _ in range(50):
        with pytest.raises(StoreError):
            await revalidator.tokens(1)
    assert time.monotonic() - started < 0.8
    redis_server_own.resume()
    while True:
        try:
            after = await revalidator.tokens(1)
            break
        except StoreError:
            assert time.monotonic() < started + 10
            await asyncio.sleep(0.02)
    assert after["label"] > before["label"]


async def test_killed_redis_comes_back(open_store: OpenStore, redis_server_own: RedisServer) -> None:
    """Bumps made while Redis is dead are owed, and paid with the next bump or read after it is back."""
    revalidator = Revalidator(["inbox", "label"], open_store(redis_server_own.url))
    before = await revalidator.tokens(1)
    redis_server_own.kill()
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    with pytest.raises(StoreError):
        revalidator.sync.bump(2, "label")
    with pytest.raises(StoreError):
        await revalidator.tokens(1)
    redis_server_own.start()
    with client_of(redis_server_own) as client:  # as if it had kept its data
        ends = time.time_ns() // 1_000_000 + 60_000
        client.hset("cache_revalidate:{1}", mapping={model: f"{token} {ends}" for model, token in before.items()})
    assert (await revalidator.bump(3, "inbox")).keys() == {"inbox"}
    after = await revalidator.tokens(1)
    assert after["label"] > before["label"]
    assert after["inbox"] == before["inbox"]
    with client_of(redis_server_own) as client:
        assert client.hkeys("cache_revalidate:{2}") == ["label"]


@pytest.mark.parametrize("layout", ["hash", "chatwoot"])
async def test_a_raise_that_was_given_up_is_not_carried_out(
    layout: str, open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer
) -> None:
    """What a hung Redis was sent, and carries out when it goes on, begins no old token's next life; later raises do."""
    store = open_store(redis_server_own.url, layout=layout, timeout=0.3)
    assert await store.peek(keyspace, "1", ["label"]) == {}
    token = new_token()
    redis_server_own.pause()
    with pytest.raises(StoreError, match="did not answer"):
        await store.raise_tokens(keyspace, {"1": {"label": token}})
    with pytest.raises(StoreError, match="did not answer"):
        store.raise_tokens_sync(keyspace, {"1": {"label": token}})
    redis_server_own.resume()
    other = open_store(redis_server_own.url, layout=layout, timeout=10.0)
    assert await other.peek(keyspace, "1", ["label"]) == {}
    with client_of(redis_server_own) as client:
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] >= 3
    assert await store.raise_tokens(keyspace, {"1": {"label": token}}) == {"1": {"label": token}}


async def test_a_clock_that_was_set_is_learned(
    open_store: OpenStore, keyspace: Keyspace, redis_server: RedisServer
) -> None:
    """A raise that is refused because Redis' clock has jumped says so; the next is carried out."""
    store = open_store(redis_server.url, timeout=5.0)
    await store.peek(keyspace, "1", ["label"])
    store._context.clock.learn(1)
    tokens = {"1": {"label": new_token()}}
    with pytest.raises(StoreError, match="too late to raise"):
        await store.raise_tokens(keyspace, tokens)
    assert await store.raise_tokens(keyspace, tokens) == tokens


async def test_cancellation_passes(open_store: OpenStore, keyspace: Keyspace, redis_server_own: RedisServer) -> None:
    """A cancelled call is a CancelledError, at once, and is not taken for an outage."""
    store = open_store(redis_server_own.url, timeout=30.0)
    await read(store, keyspace)
    redis_server_own.pause()
    for operation in (read, bump, check):
        task = asyncio.ensure_future(operation(store, keyspace))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    redis_server_own.resume()
    await read(store, keyspace)


@asynccontextmanager
async def stranger(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """Give the URL of a server that is no Redis, which answers each request as `answer` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65_536):
            writer.write(answer(request))
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield f"redis://{HOST}:{server.sockets[0].getsockname()[1]}"


def tokenless(answer: bytes) -> Callable[[bytes], bytes]:
    """Answer scripts with something that is not tokens, and all else with OK."""
    return lambda request: answer if b"EVALSHA" in request else b"+OK\r\n" * request.count(b"SETINFO")


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
        lambda _: b"\xff\x00" * 10,
        tokenless(b"+OK\r\n"),
        tokenless(b"$-1\r\n"),
        tokenless(b"*0\r\n"),
        tokenless(b"*1\r\n$-1\r\n"),
        tokenless(b"*1\r\n$2\r\nhi\r\n"),
        tokenless(b"*2\r\n" + 2 * b"$20\r\n17000000000000000000\r\n"),
        tokenless(b"*1\r\n$20\r\n" + 20 * b"\xff" + b"\r\n"),
        tokenless(b"-ERR unknown command\r\n"),
    ],
)
async def test_stranger(answer: Callable[[bytes], bytes], open_store: OpenStore, keyspace: Keyspace) -> None:
    """A server that is no Redis, or answers no tokens, is a StoreError."""
    async with stranger(answer) as url:
        store = open_store(url, timeout=0.5)
        for operation in (read, bump, bump_sync):
            with pytest.raises(StoreError, match="Redis at redis://"):
                await operation(store, keyspace)
        await store.aclose()


async def test_any_failure_of_a_client_is_a_store_error(keyspace: Keyspace) -> None:
    """Whatever a client of your own raises when it is made or used, callers see a StoreError."""

    def make(*_: Any) -> Any:
        raise RuntimeError("no client today")

    store = RedisStore(make, make, name="the moon")
    for operation in (read, bump, bump_sync, check):
        with pytest.raises(StoreError, match="the moon failed: RuntimeError: no client today"):
            await operation(store, keyspace)
    await store.aclose()
