"""What went wrong with Redis, in words that name the mend."""

from __future__ import annotations

import redis

from cache_revalidate.exceptions import StoreError


def store_error(error: Exception, address: str, timeout: float) -> StoreError:
    """Return the `StoreError` for whatever was raised by a call of the Redis at `address`."""
    return StoreError(f"Redis at {address} {_what_happened(error, timeout)}")


def _what_happened(error: Exception, timeout: float) -> str:  # noqa: C901, PLR0911 - one line per kind of failure
    match error:
        case StoreError():
            return str(error)
        case TimeoutError() | redis.TimeoutError():
            return (
                f"did not answer within {timeout:g} s: is it frozen or overloaded? For a slow network, raise "
                "RedisStore.from_url(timeout=...)."
            )
        case redis.BusyLoadingError():
            return "is still loading its data: it will answer when it has."
        case redis.AuthenticationError() | redis.exceptions.AuthorizationError():
            return f"refused to sign in ({error}): mend the user and the password in the URL."
        case redis.ConnectionError() | OSError():
            return f"can't be reached ({error}): is it running, and is the URL right?"
        case redis.ReadOnlyError():
            return "is a replica, which takes no writes: give the primary's URL, or a redis+sentinel:// one."
        case redis.OutOfMemoryError():
            return "is out of memory: raise its maxmemory, or set maxmemory-policy to volatile-ttl."
        case redis.exceptions.NoPermissionError():
            return (
                f"forbids the call ({error}): allow the user EVAL, EVALSHA, PING and SUBSCRIBE, what the scripts call, "
                "and the keys and channels of the namespace."
            )
        case RuntimeError() if str(error) == "no running event loop":
            return "is asked by redis-py, which needs asyncio: run the app on it, not on trio."
        # To whom has not signed in, Redis also refuses a long command as such.
        case _ if str(error).startswith("NOAUTH") or "unauthenticated" in str(error):
            return "wants a password: put it into the URL, as in redis://user:password@host."
        case _:
            return f"failed: {type(error).__name__}: {error}"
