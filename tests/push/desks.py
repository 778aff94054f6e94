"""What the tests of push stand on: the app on a real server, its clients, and the store as another process sees it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from cache_revalidate import RedisStore, Revalidator, StoreError
from tests.push.app import models_of
from tests.push.client import Client
from tests.push.sse_client import EventStream, open_streams
from tests.push.tenant_view import TenantView
from tests.push.waiting import POLL_SECONDS, until
from tests.push.ws_client import EventSocket
from tests.support.servers import AppServer, AppServerProgram, RedisServer

KEYS = "/api/v1/accounts/{}/cache_keys"
_MOST_STREAMS = 200


def events_path(tenant: object = 1) -> str:
    """Return the path of a tenant's stream."""
    return f"{KEYS.format(tenant)}/events"


def socket_path(tenant: object = 1) -> str:
    """Return the path of a tenant's WebSocket."""
    return f"{KEYS.format(tenant)}/socket"


def desk(
    *,
    server: AppServerProgram = "uvicorn",
    workers: int = 1,
    options: Sequence[str] = (),
    store: str | None = None,
    hub: Mapping[str, float] | None = None,
    more_models: int = 0,
    settings: Mapping[str, str] | None = None,
) -> AppServer:
    """Return the app on a server, not started; `store` is a Redis's URL, `hub` holds the hub's options."""
    if server == "uvicorn":
        options = ["--no-access-log", *options]
    environment = {
        "HUB": json.dumps(hub or {}),
        "MORE_MODELS": str(more_models),
        **({"STORE_URL": store} if store else {}),
        **(settings or {}),
    }
    return AppServer(
        "tests.push.app:make",
        server=server,
        workers=workers,
        options=options,
        env=environment,
        factory=True,
        ready_path="/ready",
    )


class Truth:
    """The store, read and bumped from this process, which is none of the app's."""

    def __init__(self, url: str) -> None:
        self._store = RedisStore.from_url(url, mirrored_tenants=0)
        self.revalidator = Revalidator(models_of(0), self._store)

    async def tokens(self, tenant: object) -> dict[str, str]:
        """Return what is true."""
        return dict(await self.revalidator.tokens(tenant))

    async def settled(
        self, tenant: object, maps: Callable[[], Iterable[Mapping[str, str]]], *, within: float = 10.0
    ) -> float:
        """Wait until every one of the clients' maps is the store's; return how many seconds that took."""
        started = time.monotonic()
        while True:
            try:
                true = await self.tokens(tenant)
            except StoreError:
                true = {}
            behind = sum(held != true for held in maps())
            if true and not behind:
                return time.monotonic() - started
            if time.monotonic() > started + within:
                raise AssertionError(f"after {within:g} seconds {behind} clients of {tenant} don't have {true}")
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def truth_of(redis: RedisServer | str) -> AsyncIterator[Truth]:
    """Give the truth that is in a Redis."""
    truth = Truth(redis if isinstance(redis, str) else redis.url)
    try:
        yield truth
    finally:
        await truth._store.aclose()


class Crowd:
    """Clients of both transports, of several tenants."""

    def __init__(self) -> None:
        self.streams: dict[str, list[EventStream]] = {}
        self.sockets: list[EventSocket] = []

    @classmethod
    @asynccontextmanager
    async def of(
        cls, port: int, tenants: Sequence[str], *, streams: int, sockets: int, workers: int = 1
    ) -> AsyncIterator["Crowd"]:
        """Give `streams` streams for each tenant, and `sockets` sockets that subscribe to all; all have begun.

        There are more streams of the first tenant if it takes more for each of the app's `workers` to have some.
        """
        crowd = cls()
        try:
            for tenant in tenants:
                crowd.streams[tenant] = await open_streams(port, [events_path(tenant)] * streams)
            while len(crowd.workers()) < workers and len(crowd.streams[tenants[0]]) < _MOST_STREAMS:
                crowd.streams[tenants[0]] += await open_streams(port, [events_path(tenants[0])] * streams)
            assert len(crowd.workers()) == workers
            for _ in range(sockets):
                socket = await EventSocket.open(port, socket_path(tenants[0]))
                crowd.sockets.append(socket)
                for tenant in tenants:
                    socket.subscribe(tenant)
            await until(
                lambda: all(socket.views[tenant].fulls for socket in crowd.sockets for tenant in tenants),
                "every socket has its snapshots",
            )
            yield crowd
        finally:
            close_all(crowd.clients())

    def maps(self, tenant: str) -> list[Mapping[str, str]]:
        """Return what each client has of a tenant, and what its newest id would show if it came again."""
        return [
            *(stream.tokens for stream in self.streams[tenant]),
            *(stream.shown() for stream in self.streams[tenant]),
            *(socket.views[tenant].tokens for socket in self.sockets),
        ]

    def clients(self) -> list[Client]:
        """Return them all."""
        return [*(stream for of_tenant in self.streams.values() for stream in of_tenant), *self.sockets]

    def workers(self) -> set[str]:
        """Return the processes that serve them."""
        # granian accepts sockets without our header.
        return {client.worker for client in self.clients() if client.worker}

    def live(self) -> set[bool | None]:
        """Return what the clients were told last of the store: whether it answers."""
        return {
            *(stream.live for of_tenant in self.streams.values() for stream in of_tenant),
            *(socket.heartbeats[-1] if socket.heartbeats else None for socket in self.sockets),
        }

    def has_lost(self) -> bool:
        """Say whether any connection has ended."""
        return any(client.closed for client in self.clients())


async def all_have(views: Iterable[TenantView], tokens: Mapping[str, str], within: float = 5.0) -> None:
    """Wait until all clients have these tokens of a tenant, whatever else they have."""
    await until(lambda: all(tokens.items() <= view.tokens.items() for view in views), "all have it", within)


def close_all(clients: Iterable[Client]) -> None:
    """Close them."""
    for client in clients:
        client.close()


async def stats(base_url: str) -> dict[str, Any]:
    """Return what the one worker of an app tells of itself."""
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
        told: dict[str, Any] = (await client.get("/stats")).json()
    return told


async def bump(client: httpx.AsyncClient, tenant: object, *models: str, door: str = "bump") -> dict[str, str]:
    """Bump through whatever worker the request reaches; return the new tokens."""
    answer = await client.post(f"/{door}/{tenant}/{','.join(models)}")
    answer.raise_for_status()
    tokens: dict[str, str] = answer.json()
    return tokens


def assert_no_traceback(server: AppServer) -> None:
    """Fail if the server has printed a traceback."""
    printed = server.output()
    assert "Traceback" not in printed, printed[printed.index("Traceback") - 500 :][:4_000]
