"""This library's middleware: around a bare ASGI app with each store, and with dearer ways to know who asks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.contestants.asgi import Message, Receive, Rows, Send, answer
from benchmarks.contestants.desk import (
    AGENTS,
    AUTHORIZATION,
    JWT_KEY,
    PATTERN,
    ROWS,
    database_url,
    redis_url,
)
from cache_revalidate import CacheRevalidateMiddleware, Connection, MemoryStore, RedisStore, Revalidator, Store
from cache_revalidate import starlette as plugin
from cache_revalidate_sqlalchemy import DurableStore, add_tables

ROUTES = {PATTERN: ["label"]}


def authorize(connection: Connection, tenant: str) -> str | None:
    """Look a header up in a dict."""
    return AGENTS.get((connection.headers.get("authorization", ""), tenant))


def around_bare_app(store: Store) -> CacheRevalidateMiddleware[Connection]:
    """Return the middleware around a bare app, which runs the revalidator's lifespan."""
    revalidator = Revalidator(["label"], store, namespace="level_1")  # the durable contestant has the same Redis
    return CacheRevalidateMiddleware(
        Rows(revalidator.lifespan), revalidator=revalidator, authorize=authorize, routes=ROUTES
    )


def memory() -> CacheRevalidateMiddleware[Connection]:
    """Keep the tokens in memory."""
    return around_bare_app(MemoryStore())


def redis() -> CacheRevalidateMiddleware[Connection]:
    """Keep the tokens in Redis."""
    return around_bare_app(RedisStore.from_url(redis_url()))


def durable() -> CacheRevalidateMiddleware[Connection]:
    """Keep the tokens in PostgreSQL, with copies in Redis."""
    metadata, engine = MetaData(), create_async_engine(database_url())
    tables = add_tables(metadata)
    store = DurableStore(engine, tables, RedisStore.from_url(redis_url()))
    revalidator = Revalidator(["label"], store, namespace="durable")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        async with revalidator.lifespan():
            yield
        await engine.dispose()

    return CacheRevalidateMiddleware(Rows(lifespan), revalidator=revalidator, authorize=authorize, routes=ROUTES)


async def labels(request: Request) -> Response:
    """Answer the fifty rows to whom `authorize` lets in."""
    tenant = str(request.path_params["account_id"])
    if AGENTS.get((request.headers.get("authorization", ""), tenant)) is None:
        return Response(status_code=403)
    return JSONResponse(ROWS)


def in_starlette() -> Starlette:
    """Put the middleware where Starlette's own go, as the README does: below its handler of server errors."""
    revalidator = Revalidator(["label"])
    middleware = Middleware(
        plugin.CacheRevalidateMiddleware, revalidator=revalidator, authorize=by_header, routes=ROUTES
    )
    return Starlette(routes=[Route(PATTERN, labels)], lifespan=revalidator.lifespan, middleware=[middleware])


def by_header(connection: HTTPConnection, tenant: str) -> str | None:
    """Look a header up in a dict, by Starlette's own connection."""
    return AGENTS.get((connection.headers.get("authorization", ""), tenant))


class SigningIn:
    """Answers `/sign_in` with the header to send, and hands on the rest."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._body = f'{{"authorization": "Bearer {token}"}}'.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http" and scope["path"] == "/sign_in":
            await answer(send, 200, [(b"content-length", str(len(self._body)).encode())], self._body)
        else:
            await self._app(scope, receive, send)


def by_jwt() -> SigningIn:
    """Verify a signed token (HS256) in each request."""
    revalidator = Revalidator(["label"])

    def agent_of(request: HTTPConnection | Connection, tenant: str) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        claims = jwt.decode(token, JWT_KEY, algorithms=["HS256"])
        return AGENTS.get((AUTHORIZATION, tenant)) if claims["sub"] == "ann" else None

    async def rows(request: Request) -> Response:
        try:
            agent = agent_of(request, str(request.path_params["account_id"]))
        except jwt.InvalidTokenError:
            agent = None
        return JSONResponse(ROWS) if agent else Response(status_code=403)

    inner = Starlette(routes=[Route(PATTERN, rows)], lifespan=revalidator.lifespan)
    app = CacheRevalidateMiddleware(inner, revalidator=revalidator, authorize=agent_of, routes=ROUTES)
    return SigningIn(app, jwt.encode({"sub": "ann", "exp": 4_000_000_000}, JWT_KEY, algorithm="HS256"))


def by_session() -> Starlette:
    """Read Starlette's signed session cookie in each request."""
    revalidator = Revalidator(["label"])

    def agent_of(connection: HTTPConnection, tenant: str) -> str | None:
        return "ann" if (connection.session.get("user"), tenant) == ("ann", "1") else None

    async def rows(request: Request) -> Response:
        if agent_of(request, str(request.path_params["account_id"])) is None:
            return Response(status_code=403)
        return JSONResponse(ROWS)

    async def sign_in(request: Request) -> Response:
        request.session["user"] = "ann"
        return JSONResponse({})

    middleware = Middleware(
        plugin.CacheRevalidateMiddleware, revalidator=revalidator, authorize=agent_of, routes=ROUTES
    )
    return Starlette(
        routes=[Route(PATTERN, rows), Route("/sign_in", sign_in)],
        lifespan=revalidator.lifespan,
        middleware=[Middleware(SessionMiddleware, secret_key=JWT_KEY), middleware],
    )
