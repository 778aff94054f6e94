"""Lets a worker die where the hunter says, in a request that has the header `Hunt-Die`.

The library knows nothing of this: its public surface is enough to be killed at.
"""

import os
import signal
from contextvars import ContextVar
from typing import Literal, TypeAlias

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from cache_revalidate.types import ASGIApp, Receive, Scope, Send

Moment: TypeAlias = Literal["after-commit", "before-push"]
"""Right after the data's COMMIT was answered; or when all that is left to do is to tell Redis."""

HEADER = "hunt-die"
_told: ContextVar[str] = ContextVar("hunt_die", default="")


class DeathMiddleware:
    """Remembers, for one request and the tasks that it starts, when to die."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        if scope["type"] == "http":
            _told.set(dict(scope["headers"]).get(HEADER.encode(), b"").decode())
        await self.app(scope, receive, send)


def die_if_told(moment: Moment) -> None:
    """Kill this process, if the request says so."""
    if _told.get() == moment:
        os.kill(os.getpid(), signal.SIGKILL)


def mortal_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return the sessions of an engine, whose commits ask whether to die before they tell anybody else."""

    class Mortal(Session):
        """Sessions to which nobody else listens yet."""

    @event.listens_for(Mortal, "after_commit")
    def _committed(_: Session) -> None:
        die_if_told("after-commit")

    return async_sessionmaker(engine, sync_session_class=Mortal, expire_on_commit=False)
