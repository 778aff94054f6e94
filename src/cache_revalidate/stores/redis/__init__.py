"""Tokens in Redis or Valkey, shared by all processes of an app; needs the extra `cache-revalidate[redis]`."""

try:
    import redis as _redis  # noqa: F401 - asked for here, so that the error names the extra
except ImportError as error:
    raise ImportError('RedisStore needs redis-py: pip install "cache-revalidate[redis]"') from error

from cache_revalidate.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
