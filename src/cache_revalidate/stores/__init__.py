"""Stores of version tokens: null, memory, and Redis or Valkey.

`RedisStore` is imported from `cache_revalidate.stores.redis` when it is first asked for, because it needs the extra
`cache-revalidate[redis]`.
"""

from cache_revalidate.stores.base import CopyStore, FoldingStore, Keyspace, Store
from cache_revalidate.stores.listening import Line, Listener
from cache_revalidate.stores.memory import MemoryStore
from cache_revalidate.stores.mirror import MirrorStats
from cache_revalidate.stores.null import NullStore

__all__ = [
    "CopyStore",
    "FoldingStore",
    "Keyspace",
    "Line",
    "Listener",
    "MemoryStore",
    "MirrorStats",
    "NullStore",
    "Store",
]
