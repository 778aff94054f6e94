"""Who asks, and whether they may: the one place where an app's `authorize` is called."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from cache_revalidate.exceptions import ConfigurationError, Refused
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from cache_revalidate.types import Scope, Viewer

ConnectionT = TypeVar("ConnectionT")
Authorize: TypeAlias = Callable[[ConnectionT, str], "Viewer | Grant | Awaitable[Viewer | Grant | None] | None"]
"""An app's rule: given the connection and the canonical tenant, return the viewer or a grant, or None to refuse."""

_logger = logging.getLogger("cache_revalidate")


@dataclass(frozen=True, slots=True)
class Grant:
    """A viewer who may see the tenant until a given time: what `authorize` may return in place of the viewer alone.

    `Grant("user-7", expires_at=claims["exp"])`: a stream is not kept open past it unless `authorize`, asked again,
    grants more.
    """

    viewer: Viewer
    """Who asks."""
    expires_at: float
    """When that is over, in seconds since 1970; `math.inf` in the grants that the library makes of plain viewers."""


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


class Caller(NamedTuple):
    """Who asks, of which tenant: both have been checked."""

    tenant: str
    viewer: Viewer


FindCaller: TypeAlias = Callable[[], Awaitable[Caller]]
"""Finds out who asks; raises `Refused`, or `InvalidTenantError` where the request names no possible tenant."""


def checked_authorize(
    authorize: Authorize[ConnectionT] | None, *, name: str = "authorize", connection: str = "connection"
) -> Authorize[ConnectionT]:
    """Return `authorize`, which the app gives under this `name`; raise `ConfigurationError` if it is no function."""
    if authorize is None:
        raise ConfigurationError(
            f"{name} is missing: pass a function {name}({connection}, tenant) that returns who asks, or None to "
            f"refuse. If anyone at all may see every tenant, say so: {name}=cache_revalidate.allow_everyone."
        )
    if not callable(authorize):
        raise ConfigurationError(f"{name} is a {type(authorize).__name__}, not a function.")
    return authorize


def asked_viewer(
    authorize: Authorize[ConnectionT], connection: ConnectionT, tenant: str
) -> Viewer | Coroutine[Any, Any, Viewer]:
    """Return who asks, to be awaited where `authorize` is asynchronous; raise `Refused` if they may not.

    An exception in `authorize`, and an answer that is no viewer, are refusals, and are logged.
    """
    try:
        answer = authorize(connection, tenant)
    except Refused:
        raise
    except Exception as error:
        raise _refusal(error) from error
    if answer is EVERYONE or (type(answer) is str and answer):  # as nearly always: no need to look what else it may be
        return answer
    return _awaited_viewer(answer) if inspect.isawaitable(answer) else checked_viewer(answer)


async def viewer_of(authorize: Authorize[ConnectionT], connection: ConnectionT, tenant: str) -> Viewer:
    """Return who asks, as `asked_viewer` does, and wait where it has to be waited for."""
    viewer = asked_viewer(authorize, connection, tenant)
    return viewer if viewer is EVERYONE or isinstance(viewer, str) else await viewer


async def grant_of(authorize: Authorize[ConnectionT], connection: ConnectionT, tenant: str) -> Grant:
    """Return who asks and until when, without end if it is a plain viewer; raise `Refused` as `asked_viewer` does."""
    try:
        answer: object = authorize(connection, tenant)
        if inspect.isawaitable(answer):
            answer = await answer
    except Refused:
        raise
    except Exception as error:
        raise _refusal(error) from error
    return checked_grant(answer)


async def _awaited_viewer(answer: Awaitable[object]) -> Viewer:
    try:
        viewer = await answer
    except Refused:
        raise
    except Exception as error:
        raise _refusal(error) from error
    return checked_viewer(viewer)


def _refusal(error: Exception) -> Refused:
    _logger.error("authorize raised an exception: the caller is refused", exc_info=error)
    return Refused()


def checked_viewer(answer: object) -> Viewer:
    """Return the viewer whom `answer` is or grants; raise `Refused` for None, False, and a grant that is over.

    For anything else, too, and then it is logged.
    """
    viewer = _plain_viewer(answer)
    return checked_grant(answer).viewer if viewer is None else viewer


def checked_grant(answer: object) -> Grant:
    """Return `answer` as a grant, without end if it is a plain viewer; raise `Refused` as `checked_viewer` does."""
    viewer = _plain_viewer(answer)
    if viewer is not None:
        return Grant(viewer, math.inf)
    if isinstance(answer, Grant):
        viewer, expires_at = _plain_viewer(answer.viewer), _finite(answer.expires_at)
        if viewer is not None and expires_at is not None:
            if expires_at <= time.time():
                raise Refused
            return Grant(viewer, expires_at)
        _logger.error(
            "authorize returned %r, which grants nothing: the caller is refused. A Grant has a viewer (a string, or "
            "EVERYONE) and expires_at, in seconds since 1970. What has no end needs no Grant: return the viewer alone.",
            answer,
        )
    elif answer is not None and answer is not False:
        _logger.error(
            "authorize returned %r, which is no viewer: the caller is refused. Return a string that differs where "
            "what users see differs (a user's id), EVERYONE, or None to refuse.",
            answer,
        )
    raise Refused


def _plain_viewer(answer: object) -> Viewer | None:
    if answer is EVERYONE:
        return EVERYONE
    if isinstance(answer, str) and answer:
        return str.__str__(answer)  # a subclass may hide what it holds, and show the same for two users
    return None


def _finite(number: object) -> float | None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    try:
        found = float(number)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
