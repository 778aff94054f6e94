"""The Starlette plugin."""

from __future__ import annotations

from cache_revalidate import middleware

try:
    from starlette.requests import HTTPConnection
except ImportError as error:
    raise ImportError('Starlette is not installed: pip install "cache-revalidate[starlette]"') from error


class CacheRevalidateMiddleware(middleware.CacheRevalidateMiddleware):
    """The core's middleware, whose `authorize(connection, tenant)` is shown Starlette's `HTTPConnection`.

    Where it asks for `connection.user`, put this below `AuthenticationMiddleware` in the list.
    """

    connection_class = HTTPConnection
