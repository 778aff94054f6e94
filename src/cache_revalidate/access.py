"""Who asks, and whether they may: the one place where an app's `authorize` is called."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from cache_revalidate.exceptions import Refused
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from cache_revalidate.types import Scope, Viewer

ConnectionT = TypeVar("ConnectionT")
Authorize: TypeAlias = Callable[[ConnectionT, str], "Viewer | Awaitable[Viewer | None] | None"]
"""An app's rule: given the connection and the canonical tenant, return the viewer, or None to refuse."""

_logger = logging.getLogger("cache_revalidate")


class Connection:
    """What `authorize` is shown of a request when no framework has a class of its own for it."""

    __slots__ = ("_headers", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        """The ASGI scope, with whatever the middleware around this one has put there."""
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers by lower-case name; repeated ones are joined by commas."""
        if self._headers is None:
            self._headers = {}
            for name, value in self.scope["headers"]:
                key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text
        return self._headers

    @property
    def user(self) -> Any:
        """What an authentication middleware has put into `scope["user"]`; None if there is none."""
        return self.scope.get("user")


class _AnyConnection(Protocol):
    """Whatever `allow_everyone` is shown, it does not look."""


def allow_everyone(connection: _AnyConnection, tenant: str) -> Viewer:  # noqa: ARG001
    """Let anyone at all see every tenant, and all see the same: for public data only."""
    return EVERYONE


async def viewer_of(authorize: Authorize[ConnectionT], connection: ConnectionT, tenant: str) -> Viewer:
    """Return who asks; raise `Refused` if they may not.

    An exception in `authorize`, and an answer that is no viewer, are refusals, and are logged.
    """
    try:
        answer = authorize(connection, tenant)
        viewer: object = await answer if inspect.isawaitable(answer) else answer
    except Refused:
        raise
    except Exception as error:
        _logger.exception("authorize raised an exception: the caller is refused")
        raise Refused from error
    return checked_viewer(viewer)


def checked_viewer(viewer: object) -> Viewer:
    """Return `viewer` if it is one; raise `Refused` if it is None, False, or (which is logged) anything else."""
    if viewer is EVERYONE or (isinstance(viewer, str) and viewer):
        return viewer
    if viewer is not None and viewer is not False:
        _logger.error(
            "authorize returned %r, which is no viewer: the caller is refused. Return a string that differs where "
            "what users see differs (a user's id), EVERYONE, or None to refuse.",
            viewer,
        )
    raise Refused
