"""The route that reads fifty rows from PostgreSQL through SQLAlchemy's async sessions, and answers them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.contestants.desk import AGENTS, PATTERN, ROWS, database_url


class Base(DeclarativeBase):
    """One table."""


class Label(Base):
    """A label of an account."""

    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(index=True)
    title: Mapped[str]
    color: Mapped[str]


def app() -> Starlette:
    """Make the app within the server."""
    engine = create_async_engine(database_url(), pool_size=20)
    sessions = async_sessionmaker(engine)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with sessions.begin() as session:
            session.add_all(Label(account_id=1, **row) for row in ROWS)
        yield
        await engine.dispose()

    async def labels(request: Request) -> Response:
        account_id = request.path_params["account_id"]
        if AGENTS.get((request.headers.get("authorization", ""), str(account_id))) is None:
            return Response(status_code=403)
        async with sessions() as session:
            found = await session.scalars(select(Label).where(Label.account_id == account_id).order_by(Label.id))
            return JSONResponse([{"id": label.id, "title": label.title, "color": label.color} for label in found])

    return Starlette(routes=[Route(PATTERN, labels)], lifespan=lifespan)
