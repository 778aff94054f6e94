"""redis-py's clients for an address: asynchronous for reads and bumps, synchronous for bumps without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.backoff
import redis.cluster
import redis.retry

from cache_revalidate.stores.redis.cluster import ClusterClient, SyncClusterClient
from cache_revalidate.stores.redis.sentinel import (
    SentinelClient,
    Sentinels,
    SyncConnection,
    SyncSentinels,
    SyncTLSConnection,
)

if TYPE_CHECKING:
    from cache_revalidate.stores.redis.urls import Address

AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster
SyncClient: TypeAlias = redis.Redis | redis.RedisCluster

# A pooled connection may have died since it was last used: one more try, at once. No more, so that a dead Redis
# is found dead at once too; and none after a time-out, which has used up the time there was.
_TRIES_AGAIN = 1


def make_client(address: Address, timeout: float) -> AsyncClient:
    """Return an asynchronous client; `timeout`, in seconds, is for connecting."""
    # No time limit on single reads and writes: the store sets one for the whole call, which costs less.
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), _TRIES_AGAIN, (redis.ConnectionError,))
    options = {**_sign_in(address), "socket_timeout": None, "socket_connect_timeout": timeout, "retry": retry}
    if address.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(*host) for host in address.hosts]
        return ClusterClient(startup_nodes=nodes, **options | _share_of(timeout, address))
    if address.kind == "sentinel":
        watching = {**address.tls, **_share_of(timeout, address), "retry": retry}
        manager = Sentinels(address.hosts, sentinel_kwargs=watching, **options)
        return cast("redis.asyncio.Redis", manager.master_for(address.service, redis_class=SentinelClient))
    return redis.asyncio.Redis(**_place(address), **options)


def make_sync_client(address: Address, timeout: float) -> SyncClient:
    """Return a synchronous client; `timeout`, in seconds, is for connecting and again for each answer."""
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), _TRIES_AGAIN, (redis.ConnectionError,))
    options = {**_sign_in(address), "socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": retry}
    if address.kind == "cluster":
        nodes = [redis.cluster.ClusterNode(*host) for host in address.hosts]  # type: ignore[no-untyped-call]
        return SyncClusterClient(startup_nodes=nodes, **options | _share_of(timeout, address))
    if address.kind == "sentinel":
        watching = {**address.tls, **_share_of(timeout, address), "retry": retry}
        manager = SyncSentinels(address.hosts, sentinel_kwargs=watching, **options)
        connection = SyncTLSConnection if address.tls else SyncConnection
        return cast("redis.Redis", manager.master_for(address.service, connection_class=connection))  # type: ignore[no-untyped-call]
    return redis.Redis(**_place(address), **options)


def _sign_in(address: Address) -> dict[str, Any]:
    # RESP2 carries all that the scripts answer, and needs no greeting when it connects.
    options = {"username": address.username, "password": address.password, "protocol": 2, **address.tls}
    return options if address.kind == "cluster" else {**options, "db": address.db}


def _place(address: Address) -> dict[str, Any]:
    if address.kind == "unix":
        return {"unix_socket_path": address.socket}
    host, port = address.hosts[0]
    return {"host": host, "port": port}


def _share_of(timeout: float, address: Address) -> dict[str, float]:
    """Leave time for the other hosts, and then for the call itself, when one host hangs."""
    share = timeout / (len(address.hosts) + 1)
    return {"socket_timeout": share, "socket_connect_timeout": share}
