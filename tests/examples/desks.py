"""The two apps as tests run them: on which server and database, with which copies, and how a test talks to them."""

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.support.servers import AppServer, PostgresServer, RedisServer

ACCOUNT = "/api/v1/accounts/1"
LISTS = {"label": f"{ACCOUNT}/labels", "inbox": f"{ACCOUNT}/inboxes", "team": f"{ACCOUNT}/teams"}
KEYS = f"{ACCOUNT}/cache_keys"
MODELS = set(LISTS)


@dataclass(frozen=True)
class Setup:
    """One way of running one of the apps."""

    app: Literal["starlette", "litestar"]
    server: Literal["uvicorn", "granian"]
    database: Literal["sqlite", "postgresql"]
    copies: Literal["memory", "redis", "none"]

    def __str__(self) -> str:
        """Return the setup as pytest shows it."""
        return f"{self.app}-{self.server}-{self.database}-{self.copies}"

    @property
    def workers(self) -> int:
        """Return how many worker processes there are: two, unless copies in memory allow only one."""
        return 1 if self.copies == "memory" else 2

    @property
    def told_within(self) -> float:
        """Return the seconds within which a page shows what somebody else did: where no store tells, it is polled."""
        return 3.0 if self.copies == "none" else 1.0

    @property
    def asked(self) -> set[str]:
        """Return what a request reaches that is answered from tokens alone: nothing, where there are copies of them."""
        return {"db"} if self.copies == "none" else set()


# Each two of the four choices meet in each of their combinations, or nearly, in six setups instead of 24.
SETUPS = [
    Setup("starlette", "uvicorn", "sqlite", "memory"),
    Setup("starlette", "granian", "postgresql", "redis"),
    Setup("litestar", "uvicorn", "postgresql", "redis"),
    Setup("litestar", "granian", "sqlite", "redis"),
    Setup("litestar", "granian", "postgresql", "memory"),
    Setup("starlette", "uvicorn", "sqlite", "none"),
]
ONE_EACH = [SETUPS[0], SETUPS[4]]


class Seen:
    """The newest tokens a desk's clients were answered with, by account: shown with each request, as the page does.

    So no test's story goes back, even when a worker that heard of a write a moment later than the others answers.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, dict[str, str]] = {}

    def show(self, request: httpx.Request) -> None:
        """Put the account's newest tokens into a request."""
        if tokens := self._of(request):
            request.headers["Cache-Keys"] = ", ".join(f'{model}="{token}"' for model, token in tokens.items())

    def learn(self, response: httpx.Response) -> None:
        """Take in the tokens that a response names."""
        tokens = self._of(response.request)
        for model, token in re.findall(r'(\w+)="(\d+)"', response.headers.get("Cache-Keys", "")):
            tokens[model] = max(token, tokens.get(model, ""))

    async def show_async(self, request: httpx.Request) -> None:
        """Do the same for an asynchronous client."""
        self.show(request)

    async def learn_async(self, response: httpx.Response) -> None:
        """Do the same for an asynchronous client."""
        self.learn(response)

    def _of(self, request: httpx.Request) -> dict[str, str]:
        account = re.search(r"/accounts/(\d+)/", request.url.path)
        return self._tokens.setdefault(account[1], {}) if account else {}


@dataclass(frozen=True)
class Desk:
    """A running app."""

    setup: Setup
    base_url: str
    server: AppServer
    seen: Seen = field(default_factory=Seen)

    def client(self, token: str | None, **options: Any) -> httpx.Client:
        """Return a client signed in by `token`, which opens a connection per request, so that any worker may answer."""
        hooks: dict[str, Any] = {"request": [self.seen.show], "response": [self.seen.learn]}
        return httpx.Client(**self._options(token), event_hooks=hooks, **options)

    def async_client(self, token: str | None) -> httpx.AsyncClient:
        """Return the same for many requests at once."""
        hooks: dict[str, Any] = {"request": [self.seen.show_async], "response": [self.seen.learn_async]}
        return httpx.AsyncClient(**self._options(token), event_hooks=hooks)

    def _options(self, token: str | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=0)
        # There is no TLS to verify, and to load the certificates would take longer than most tests.
        return {"base_url": self.base_url, "headers": headers, "limits": limits, "timeout": 30, "verify": False}


@contextmanager
def running(
    setup: Setup, folder: Path, postgres: PostgresServer, redis: RedisServer, *, app: str | None = None
) -> Iterator[Desk]:
    """Run an app, or one made of it, on a fresh database; nothing that is asked of it may end in a traceback."""
    with ExitStack() as stack:
        if setup.database == "postgresql":
            name = postgres.create_database()
            stack.callback(postgres.drop_database, name)
            database_url = postgres.url("asyncpg", name)
        else:
            database_url = f"sqlite+aiosqlite:///{folder / 'desk.sqlite3'}"
        server = AppServer(
            app or f"examples.{setup.app}_app.app:app",
            server=setup.server,
            workers=setup.workers,
            env={
                "DATABASE_URL": database_url,
                "REDIS_URL": redis.url if setup.copies == "redis" else "",
                "WORKERS": str(setup.workers),
                "SECRET": "what-tickets-are-signed-with-in-tests",
            },
        )
        stack.enter_context(server)
        yield Desk(setup, server.base_url, server)
        assert "Traceback" not in server.output()


def new_name() -> str:
    """Return a name that nothing has yet."""
    return f"n{uuid.uuid4().hex[:12]}"


def reached(response: httpx.Response) -> set[str]:
    """Return which of `handler` and `db` a request reached, as Server-Timing says."""
    parts = {part.split(";")[0].strip() for part in response.headers["Server-Timing"].split(",")}
    assert "total" in parts
    return parts - {"total"}


def tokens_of(client: httpx.Client, account: int = 1) -> dict[str, str]:
    """Return an account's version tokens by model."""
    response = client.get(f"/api/v1/accounts/{account}/cache_keys")
    assert response.status_code == 200, response.text
    tokens: dict[str, str] = response.json()["cache_keys"]
    return tokens


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the models whose token is another; it has to be a larger one."""
    models = {model for model in after if after[model] != before[model]}
    assert all(after[model] > before[model] for model in models)
    return models


def etags_of(client: httpx.Client, account: int = 1) -> dict[str, str]:
    """Return the lists' validators by path."""
    paths = [path.replace("/1/", f"/{account}/") for path in LISTS.values()]
    return {path: client.get(path).headers["ETag"] for path in paths}


def statuses(client: httpx.Client, etags: dict[str, str]) -> dict[str, int]:
    """Ask for each path with its validator; return the statuses."""
    return {path: client.get(path, headers={"If-None-Match": etag}).status_code for path, etag in etags.items()}
