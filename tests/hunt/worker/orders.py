"""Lets a worker die or stop where the hunter says, in a request that has the header `Hunt-Order`.

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

Moment: TypeAlias = Literal["after-commit", "after-look", "before-push"]
"""Right after the data's COMMIT was answered; when a connection is given back that was used to look up tokens; when
all that is left to do is to tell Redis.
"""

Order: TypeAlias = Literal["die after-commit", "die before-push", "stop after-look", "stop before-push"]

HEADER = "hunt-order"
_orders: ContextVar[list[str]] = ContextVar("hunt_orders")
"""A request's own, shared by the tasks that it starts: what has been obeyed is done."""


class OrderMiddleware:
    """Remembers, for one request and the tasks that it starts, what is to happen when."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        if scope["type"] == "http":
            order = dict(scope["headers"]).get(HEADER.encode())
            _orders.set([order.decode()] if order else [])
        await self.app(scope, receive, send)


def obey(moment: Moment) -> None:
    """Kill or stop this process, if that is what the request says is to happen now."""
    orders = _orders.get([])
    for order, number in ((f"die {moment}", signal.SIGKILL), (f"stop {moment}", signal.SIGSTOP)):
        if order in orders:
            orders.remove(order)
            os.kill(os.getpid(), number)


def mortal_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return the sessions of an engine, whose commits obey before they tell anybody else."""

    class Mortal(Session):
        """Sessions to which nobody else listens yet."""

    @event.listens_for(Mortal, "after_commit")
    def _committed(_: Session) -> None:
        obey("after-commit")

    return async_sessionmaker(engine, sync_session_class=Mortal, expire_on_commit=False)
