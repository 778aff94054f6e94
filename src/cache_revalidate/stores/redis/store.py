"""Tokens in Redis, shared by all processes of an app."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

import redis

from cache_revalidate.exceptions import ConfigurationError, StoreError
from cache_revalidate.stores.base import CopyStore, Keyspace
from cache_revalidate.stores.redis.cancelling import cancellation_kept
from cache_revalidate.stores.redis.clients import AsyncClient, SyncClient, make_client, make_sync_client
from cache_revalidate.stores.redis.clock import RedisClock
from cache_revalidate.stores.redis.errors import store_error
from cache_revalidate.stores.redis.feed import Feed
from cache_revalidate.stores.redis.layout import LAYOUTS, CallContext, Operation, ScriptCall, tenant_channel
from cache_revalidate.stores.redis.listening import Listening, running_loop
from cache_revalidate.stores.redis.mirroring import Mirroring
from cache_revalidate.stores.redis.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from cache_revalidate.stores.listening import Listener
    from cache_revalidate.stores.mirror import MirrorStats
    from cache_revalidate.types import Changes, Tokens

_T = TypeVar("_T")
Layout = Literal["hash", "chatwoot"]

_PAUSE: Final = 1.0  # seconds without reads after a Redis did not answer, so that not every request waits for it
_CALLS_AT_ONCE: Final = 32  # per event loop: each needs a connection of its own

_MIRRORED_TENANTS: Final = 10_000

_logger = logging.getLogger("cache_revalidate")


class RedisStore(CopyStore):
    """Tokens in a Redis or Valkey, be it alone, watched by sentinels, or a cluster; best made by `from_url`.

    A bump, like a read, is one call of a script, in which Redis is the only clock: the processes' clocks may differ.
    (In a cluster it is one call per tenant, all at once.) Every failure is a `StoreError`.

    While the app runs (in `revalidator.lifespan`), tokens of hot tenants are mirrored: held in this process's memory,
    for which the process listens to what the others publish of their bumps. `mirror_stats` counts what comes of it.

    `make_client` and `make_sync_client` make redis-py clients of your own, which the store closes: an asynchronous
    one for each event loop that uses the store, and one for `bump_sync` when that is first called. `clustered` says
    whether they are clients of a cluster, `db` is the number of their database, `name` is how messages call the Redis;
    the rest is as in `from_url`.
    """

    def __init__(
        self,
        make_client: Callable[[], AsyncClient],
        make_sync_client: Callable[[], SyncClient],
        *,
        layout: Layout = "hash",
        timeout: float = 1.0,
        mirrored_tenants: int | None = None,
        mirrored_for: float = 5.0,
        clustered: bool = False,
        db: int = 0,
        name: str = "the address of its client",
    ) -> None:
        if layout not in LAYOUTS:
            raise ConfigurationError(f'layout {layout!r} is not known: choose "hash" or "chatwoot".')
        if layout == "chatwoot" and clustered:
            raise ConfigurationError(
                "Chatwoot's key layout spreads a tenant over several slots of a cluster, where a script can't reach "
                'them together: use layout="hash", or a Redis that is no cluster.'
            )
        if not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
            raise ConfigurationError(f"timeout {timeout!r} is not a number of seconds above 0: timeout=1.0 is usual.")
        self._make_client = make_client
        self._make_sync_client = make_sync_client
        self._layout = LAYOUTS[layout]
        self._timeout = timeout
        self._name = name
        self._context = CallContext(RedisClock(None if clustered else timeout), clustered, self._say_unpublished, db)
        if mirrored_tenants is None:
            mirrored_tenants = _MIRRORED_TENANTS if layout == "hash" else 0
        self._mirroring = Mirroring(mirrored_tenants, mirrored_for, db)
        self._listening = Listening(self._make_feed)
        self._is_published = True
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}
        self._sync_client: SyncClient | None = None
        self._sync_lock = threading.Lock()
        self._outage: str | None = None
        self._resume_at = 0.0

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        layout: Layout = "hash",
        timeout: float = 1.0,
        mirrored_tenants: int | None = None,
        mirrored_for: float = 5.0,
    ) -> Self:
        """Return the store in the Redis at `url`; nothing is connected before the first call.

        `url` begins with `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`, and `valkey`
        may stand for `redis`; user and password are those of Redis itself, also behind sentinels.

        `layout` is `"hash"`, one expiring hash per tenant, or `"chatwoot"`, Chatwoot's own keys (those of Chatwoot
        itself with `Revalidator(namespace="alfred")`).

        `timeout`, in seconds, is for one call, connecting included; a synchronous bump may take as long for
        connecting and as long again for the answer.

        `mirrored_tenants` is for how many hot tenants each process holds tokens in its own memory: by default 10,000,
        and none with Chatwoot's layout, in which Chatwoot bumps and publishes nothing. `mirrored_for`, in seconds, is
        how long they are held before Redis is asked anew, whatever was heard.

        Raises `ConfigurationError` if the URL or one of the options can't work.
        """
        address = parse_url(url)
        return cls(
            partial(make_client, address, timeout),
            partial(make_sync_client, address, timeout),
            layout=layout,
            timeout=timeout,
            mirrored_tenants=mirrored_tenants,
            mirrored_for=mirrored_for,
            clustered=address.kind == "cluster",
            db=address.db,
            name=str(address),
        )

    @property
    def mirror_stats(self) -> MirrorStats:
        """What the mirror has counted."""
        return self._mirroring.stats

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return what the mirror holds, if it holds all of it."""
        return self._mirroring.held(keyspace, tenant, models)

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the tokens held, minting what is missing; for a second after an outage, fail without asking."""
        return await self._look("read", keyspace, tenant, models)

    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Mint a larger token for each change."""
        return await self._write("bump", keyspace, changes)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Mint a larger token for each change."""
        return self._write_sync("bump", keyspace, changes)

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the tokens held; for a second after an outage, fail without asking."""
        return await self._look("peek", keyspace, tenant, models)

    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Hold each token unless a larger one is held."""
        return await self._write("raise", keyspace, tokens)

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Hold each token unless a larger one is held."""
        return self._write_sync("raise", keyspace, tokens)

    async def drop(self, keyspace: Keyspace, changes: Changes) -> None:
        """Forget the tokens of these tenants' models, here, in Redis, and in all processes that hear of it."""
        await self._write("drop", keyspace, changes)

    def drop_sync(self, keyspace: Keyspace, changes: Changes) -> None:
        """Forget the tokens of these tenants' models, here, in Redis, and in all processes that hear of it."""
        self._write_sync("drop", keyspace, changes)

    async def check(self) -> None:
        """Raise `StoreError` unless Redis answers a PING."""
        await self._ask([_ping])

    @asynccontextmanager
    async def running(self, keyspace: Keyspace) -> AsyncIterator[None]:
        """Mirror hot tenants while the app runs; close the connections of its event loop at the end."""
        async with (
            super().running(keyspace),
            self._listening.running() as feed,
            self._mirroring.running(keyspace, feed),
        ):
            yield

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Tell of what Redis publishes, while the app runs, on its event loop; elsewhere, nothing.

        All who listen to a tenant, the mirror among them, share a subscription, and all share a connection (in a
        cluster, one to each node in use). If Redis can't be reached, or refuses, `lost` is called, at once or soon.

        False is also returned with Chatwoot's layout, of which only what this library bumps is told, and once Redis has
        not let a bump be published.
        """
        feed = self._listening.feed
        if feed is None:
            return False
        channel = tenant_channel(keyspace.namespace, self._context.db, tenant)
        if feed.listen(channel, listener) and (self._context.clustered or self._client() is None):
            feed.do(self._find(channel))
        return self._is_published and self._layout is LAYOUTS["hash"]

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Tell no more; with a tenant's last listener, end the subscription."""
        if feed := self._listening.feed:
            feed.leave(tenant_channel(keyspace.namespace, self._context.db, tenant), listener)

    async def aclose(self) -> None:
        """Close the connections of this event loop and of `bump_sync`; other loops close theirs when they end."""
        loop = running_loop()
        connection = None if loop is None else self._connections.get(loop)
        if connection is not None:
            await connection.lifetime.aclose()
        with self._sync_lock:
            client, self._sync_client = self._sync_client, None
        if client is not None:
            client.close()

    async def _look(self, operation: Operation, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        if self._outage is not None:
            now = time.monotonic()
            if now < self._resume_at:
                raise StoreError(self._outage)
            # This read finds out whether Redis is back; the others go on without it until it has.
            self._resume_at = now + _PAUSE
        reading = self._mirroring.reading(keyspace, tenant)
        try:
            call = self._layout(operation, self._mirroring.beneath(keyspace), {tenant: models}, self._context)
            tokens = (await self._ask([partial(_run, call)]))[0][tenant]
        except BaseException:
            if reading is not None:
                reading.failed()
            raise
        return tokens if reading is None else reading.done(tokens)

    async def _write(self, operation: Operation, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        calls = self._calls(operation, keyspace, changes)
        with self._mirrored(operation, keyspace, changes) as held:
            for answer in await self._ask([partial(_run, call) for call in calls]):
                held.update(answer)
        return held

    def _write_sync(self, operation: Operation, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        calls = self._calls(operation, keyspace, changes)
        with self._mirrored(operation, keyspace, changes) as held:
            held.update(self._ask_sync(lambda client: _run_all_sync(client, calls)))
        return held

    @contextmanager
    def _mirrored(self, operation: Operation, keyspace: Keyspace, changes: Changes) -> Iterator[dict[str, Tokens]]:
        """Give a place for what Redis answers to a write, which the mirror is then raised to."""
        held: dict[str, Tokens] = {}
        if operation == "drop":
            self._mirroring.drop(keyspace, changes)
        try:
            yield held
        except BaseException:
            # Redis may have done it all the same, or not: whoever asks next, asks Redis.
            self._mirroring.drop(keyspace, changes)
            raise
        if operation == "drop":  # once more, for what was read meanwhile
            self._mirroring.drop(keyspace, changes)
        self._mirroring.raise_tokens(keyspace, held)

    def _calls(self, operation: Operation, keyspace: Keyspace, changes: Changes) -> list[ScriptCall]:
        """Return the calls to be made: one, but in a cluster, where each tenant is a slot, one per tenant."""
        parts = [{tenant: models} for tenant, models in changes.items()] if self._context.clustered else [changes]
        keyspace = self._mirroring.beneath(keyspace)
        return [self._layout(operation, keyspace, part, self._context) for part in parts]

    def _say_unpublished(self, refusal: str) -> None:
        if self._is_published:
            self._is_published = False
            mend = "allow the user the channels of your namespace, as in ACL SETUSER app '&cache_revalidate:*'."
            if "unknown" in refusal.lower():
                mend = "in a cluster this needs Redis 7."
            message = "Redis at %s does not let bumps be published (%s), so other processes hear of them late: %s"
            _logger.error(message, self._name, refusal, mend)

    async def _ask(self, questions: Sequence[Callable[[AsyncClient], Awaitable[_T]]]) -> list[_T]:
        try:
            with cancellation_kept():
                async with asyncio.timeout(self._timeout):
                    connection = await self._connected()
                    answers = await connection.ask(questions)
        except Exception as error:
            raise self._failed(error) from error
        self._outage = None
        return answers

    def _ask_sync(self, question: Callable[[SyncClient], _T]) -> _T:
        try:
            answer = question(self._connected_sync_client())
        except Exception as error:
            raise self._failed(error) from error
        self._outage = None
        return answer

    def _failed(self, error: Exception) -> StoreError:
        failure = store_error(error, self._name, self._timeout)
        if not isinstance(error, redis.ResponseError):  # which an answering Redis gives at once
            self._resume_at = time.monotonic() + _PAUSE
            self._outage = str(failure)
        return failure

    def _make_feed(self) -> Feed:
        stats, sharded = self._mirroring.stats, self._context.clustered  # for so are bumps published
        return Feed(self._client, stats, patience=self._timeout, name=self._name, sharded=sharded)

    async def _find(self, channel: str) -> None:
        """Have the client learn which node has a channel: who only listens would ask the wrong one again and again."""
        try:
            with cancellation_kept():
                async with asyncio.timeout(self._timeout):
                    connection = await self._connected()
                    await connection.ask([partial(_find_key, channel)])
        except Exception:
            # Whoever listens is told that it came to nothing, and tries again. Reads are not paused for this.
            _logger.debug("Redis at %s could not be asked where %s is", self._name, channel, exc_info=True)

    def _client(self) -> AsyncClient | None:
        """Return the running loop's client, if there is one."""
        connection = self._connections.get(asyncio.get_running_loop())
        return None if connection is None else connection.client

    async def _connected(self) -> _Connection:
        """Return the running loop's connection: redis-py's connections work in the loop that made them alone."""
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            lifetime = self._client_lifetime(loop)
            connection = _Connection(await anext(lifetime), lifetime, asyncio.Semaphore(_CALLS_AT_ONCE))
            # A loop that was closed without shutting down can't close its client any more: forget it, at least.
            for closed in [other for other in tuple(self._connections) if other.is_closed()]:
                self._connections.pop(closed, None)
            self._connections[loop] = connection
        return connection

    async def _client_lifetime(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[AsyncClient, None]:
        """Yield the client of a loop, and close it when the generator is closed.

        A loop that shuts down closes its asynchronous generators (PEP 525), so a client can't outlive its loop, even
        where nobody calls `aclose` in it, as in tests that make a loop per request.
        """
        client = self._make_client()
        try:
            yield client
        finally:
            self._connections.pop(loop, None)
            await client.aclose()

    def _connected_sync_client(self) -> SyncClient:
        if self._sync_client is not None:
            return self._sync_client
        client = self._make_sync_client()  # which connects to a cluster, so not under the lock
        with self._sync_lock:
            if self._sync_client is None:
                self._sync_client = client
                return client
        client.close()
        return self._sync_client


@dataclass(frozen=True, slots=True)
class _Connection:
    """What one event loop uses."""

    client: AsyncClient
    lifetime: AsyncGenerator[AsyncClient, None]
    turn: asyncio.Semaphore

    async def ask(self, questions: Sequence[Callable[[AsyncClient], Awaitable[_T]]]) -> list[_T]:
        """Ask all at once, as far as there are turns; if one fails, raise its error."""
        if len(questions) == 1:
            return [await self._ask(questions[0])]
        # All are waited for, so that none goes on behind the back of a caller who was told of a failure.
        asked = await asyncio.gather(*map(self._ask, questions), return_exceptions=True)
        answers = []
        for answer in asked:
            if isinstance(answer, BaseException):
                raise answer
            answers.append(answer)
        return answers

    async def _ask(self, question: Callable[[AsyncClient], Awaitable[_T]]) -> _T:
        async with self.turn:
            # A cluster's client that does not know the nodes yet would send its first command to any of them.
            await self.client.initialize()
            return await question(self.client)


async def _run(call: ScriptCall, client: AsyncClient) -> dict[str, Tokens]:
    arguments: tuple[Any, ...] = (len(call.keys), *call.keys, *call.arguments)
    try:
        answer = await client.evalsha(call.script.sha, *arguments)
    except redis.exceptions.NoScriptError:
        answer = await client.eval(call.script.text, *arguments)
    return call.tokens(answer)


def _run_all_sync(client: SyncClient, calls: list[ScriptCall]) -> dict[str, Tokens]:
    minted: dict[str, Tokens] = {}
    for call in calls:
        minted |= _run_sync(client, call)
    return minted


def _run_sync(client: SyncClient, call: ScriptCall) -> dict[str, Tokens]:
    arguments: tuple[Any, ...] = (len(call.keys), *call.keys, *call.arguments)
    try:
        answer = client.evalsha(call.script.sha, *arguments)
    except redis.exceptions.NoScriptError:
        answer = client.eval(call.script.text, *arguments)
    return call.tokens(answer)


async def _find_key(key: str, client: AsyncClient) -> None:
    await client.eval("return 0", 1, key)


async def _ping(client: AsyncClient) -> None:
    await client.ping()
