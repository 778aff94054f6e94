"""A small ASGI app behind the middleware, and a client for it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from cache_revalidate import CacheRevalidateMiddleware, Connection, Revalidator, Viewer
from cache_revalidate.types import ASGIApp, Receive, Scope, Send

LABELS = "/api/v1/accounts/1/labels"
KEYS = "/api/v1/accounts/1/cache_keys"
PATTERN = "/api/v1/accounts/{account_id:int}/labels"


@dataclass
class Desk:
    """An ASGI app whose next answer a test sets, and which notes how often it was reached."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [(b"content-type", b"text/plain")])
    chunks: list[bytes] = field(default_factory=lambda: [b"rows"])
    reached: int = 0
    scopes: list[Scope] = field(default_factory=list)
    before_answer: Callable[[], Awaitable[Any]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what the test has set."""
        self.reached += 1
        self.scopes.append(scope)
        if self.before_answer:
            await self.before_answer()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def agent(connection: Connection, tenant: str) -> Viewer | None:
    """Let in who names the tenant in `X-Agent`, as `name@tenant`."""
    name, _, account = connection.headers.get("x-agent", "").partition("@")
    return name if account == tenant else None


@pytest.fixture
def desk() -> Desk:
    """The app behind the middleware."""
    return Desk()


@pytest.fixture
def revalidator() -> Revalidator:
    """A revalidator of three models in memory."""
    return Revalidator(["label", "inbox", "team"])


@pytest.fixture
def app(desk: Desk, revalidator: Revalidator) -> ASGIApp:
    """The desk behind the middleware, its labels declared."""
    return CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes={PATTERN: ["label"]})


def client_of(app: ASGIApp, agent: str = "ann@1") -> httpx.AsyncClient:
    """Return a client that is signed in as `agent`."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://desk",
        headers={"x-agent": agent},
    )


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client signed in as agent ann of account 1."""
    async with client_of(app) as client:
        yield client
