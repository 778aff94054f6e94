"""Version tokens per tenant and model: an app tells its clients, in one cheap request, which of their data changed."""

from typing import TYPE_CHECKING, Any

from cache_revalidate.access import Connection, Grant, allow_everyone
from cache_revalidate.exceptions import (
    CacheRevalidateError,
    ConfigurationError,
    InvalidTenantError,
    Refused,
    SnapshotError,
    StoreError,
    UnknownModelError,
)
from cache_revalidate.http.cache_control import CacheControl
from cache_revalidate.middleware import CacheRevalidateMiddleware
from cache_revalidate.policy import CachePolicy
from cache_revalidate.push.hub import Hub
from cache_revalidate.push.settings import HubSettings, HubStats
from cache_revalidate.revalidator import Revalidator, Stats
from cache_revalidate.stores import (
    CopyStore,
    FoldingStore,
    Keyspace,
    Line,
    Listener,
    MemoryStore,
    MirrorStats,
    NullStore,
    Store,
)
from cache_revalidate.tenants import EVERY_TENANT, canonical_tenant
from cache_revalidate.tickets import Tickets
from cache_revalidate.token import is_token, new_token, token_clock
from cache_revalidate.types import EVERYONE, Viewer

if TYPE_CHECKING:
    from cache_revalidate.stores.redis import RedisStore as RedisStore

__all__ = [
    "EVERYONE",
    "EVERY_TENANT",
    "CacheControl",
    "CachePolicy",
    "CacheRevalidateError",
    "CacheRevalidateMiddleware",
    "ConfigurationError",
    "Connection",
    "CopyStore",
    "FoldingStore",
    "Grant",
    "Hub",
    "HubSettings",
    "HubStats",
    "InvalidTenantError",
    "Keyspace",
    "Line",
    "Listener",
    "MemoryStore",
    "MirrorStats",
    "NullStore",
    "Refused",
    "Revalidator",
    "SnapshotError",
    "Stats",
    "Store",
    "StoreError",
    "Tickets",
    "UnknownModelError",
    "Viewer",
    "allow_everyone",
    "canonical_tenant",
    "is_token",
    "new_token",
    "token_clock",
]


def __getattr__(name: str) -> Any:
    if name == "RedisStore":
        from cache_revalidate.stores.redis import RedisStore

        return RedisStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
