"""The labels of the example desk, in a form that can be hunted: a label's colour is the number of the commit.

The commits of one account are made one after the other, under the lock of its row, and each writes the next number.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from examples.desk import records
from examples.desk.models import Account, Label
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cache_revalidate import Revalidator, allow_everyone
from cache_revalidate.starlette import CacheRevalidateMiddleware, compose_lifespans
from tests.hunt.worker.orders import OrderMiddleware

LABELS = "/api/v1/accounts/{account_id:int}/labels"
MOST_LABELS = 6
_LOCK_TIMEOUT = "5s"


def color_of(revision: int) -> str:
    """Return a label's colour at a revision."""
    return f"#{revision:06x}"


def revision_of(labels: list[Mapping[str, Any]]) -> int:
    """Return the newest revision among labels, as the list endpoint shows them."""
    return max(int(label["color"].removeprefix("#"), 16) for label in labels)


def make_app(engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession], revalidator: Revalidator) -> Starlette:
    """Return the app; `sessions` bump what they touch, each scheme in its own way."""

    class Labels(HTTPEndpoint):
        async def get(self, request: Request) -> JSONResponse:
            async with sessions() as session:
                return JSONResponse({"payload": await records.listed(session, Label, _account_id(request))})

        async def post(self, request: Request) -> JSONResponse:
            """Add a label; when there are many, the oldest goes."""
            async with sessions.begin() as session:
                revision = await _next_revision(session, _account_id(request))
                labels = await _labels(session, _account_id(request))
                for label in labels[: len(labels) + 1 - MOST_LABELS]:
                    await session.delete(label)
                session.add(Label(account_id=_account_id(request), title=f"r{revision}", color=color_of(revision)))
            return JSONResponse({"revision": revision})

        async def patch(self, request: Request) -> JSONResponse:
            """Change one label, by the unit of work."""
            async with sessions.begin() as session:
                revision = await _next_revision(session, _account_id(request))
                labels = await _labels(session, _account_id(request))
                labels[revision % len(labels)].color = color_of(revision)
            return JSONResponse({"revision": revision})

        async def put(self, request: Request) -> JSONResponse:
            """Change all labels by one UPDATE, through the session."""
            async with sessions.begin() as session:
                revision = await _next_revision(session, _account_id(request))
                of_account = Label.account_id == _account_id(request)
                await session.execute(update(Label).where(of_account).values(color=color_of(revision)))
            return JSONResponse({"revision": revision})

    @asynccontextmanager
    async def disposing(_app: Starlette) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    return Starlette(
        routes=[Route(LABELS, Labels)],
        lifespan=compose_lifespans(disposing, revalidator.lifespan),
        middleware=[
            Middleware(OrderMiddleware),
            Middleware(
                CacheRevalidateMiddleware,
                revalidator=revalidator,
                authorize=allow_everyone,
                routes={LABELS: ["label"]},
            ),
        ],
    )


def _account_id(request: Request) -> int:
    account_id: int = request.path_params["account_id"]
    return account_id


async def _labels(session: AsyncSession, account_id: int) -> list[Label]:
    return list(await session.scalars(select(Label).where(Label.account_id == account_id).order_by(Label.id)))


async def _next_revision(session: AsyncSession, account_id: int) -> int:
    await session.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True)))
    await session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    newest = await session.scalar(select(func.max(Label.color)).where(Label.account_id == account_id))
    return revision_of([{"color": newest}]) + 1
