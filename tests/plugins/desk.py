"""What the app of each framework is built around: who may see what, and what its handlers noted."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cache_revalidate import Hub, HubSettings, Keyspace, Revalidator, StoreError, Tickets
from cache_revalidate.answer import Answer
from cache_revalidate.types import ASGIApp, Receive, Scope, Send, Tokens
from tests.support.stores import LaggingStore

MODELS = ("label", "inbox", "team")
ACCOUNT = "/api/v1/accounts/1"
RECHECK_SECONDS = 0.5
FRIEND = "https://desk.example"
"""The origin of pages that may listen besides the desk's own."""


class DetachableStore(LaggingStore):
    """A store that can go away and come back."""

    is_away = False

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the tokens, if the store is there."""
        if self.is_away:
            raise StoreError("The store is away.")
        return await super().read(keyspace, tenant, models)

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the tokens, if the store is there."""
        return None if self.is_away else super().held(keyspace, tenant, models)


class SorryError(Exception):
    """Raised by a handler; each app answers it with a 200 that says so."""


class Desk:
    """A support desk without rows: its agents by bearer token, and a count of the times its handlers ran."""

    def __init__(self, file: Path) -> None:
        self.store = DetachableStore()
        self.revalidator = Revalidator(MODELS, self.store)
        self.hub = Hub(
            self.revalidator,
            origins=[FRIEND],
            tickets=Tickets("not a secret, but 32 characters long"),
            settings=HubSettings(recheck=RECHECK_SECONDS, heartbeat=1.0),
        )
        self.agents: dict[str, set[str]] = {"ann": {"1"}, "abe": {"1"}, "bob": {"2"}, "max": {"1"}, "zoe": {"1", "3"}}
        self.handled = 0
        self.asked = 0
        self.file = file
        self.gate = asyncio.Event()

    def accounts_of(self, authorization: str | None) -> tuple[str, set[str]] | None:
        """Return who bears an Authorization field's token, and the accounts they may see."""
        self.asked += 1
        name = (authorization or "").removeprefix("Bearer ")
        return (name, self.agents[name]) if name in self.agents else None

    def labels(self, agent: str, account: object) -> dict[str, object]:
        """Return what the list of labels answers."""
        self.handled += 1
        return {"agent": agent, "account": account}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the first part of a long answer, and the second once the gate is open."""
        self.handled += 1
        yield b"first "
        await self.gate.wait()
        yield b"second"


class NumberedSessions:
    """A middleware that writes another number into each request's session, so that each answer sets a cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Number the session and pass the request on."""
        if scope["type"] == "http":
            scope["session"]["number"] = next(self._numbers)
        await self.app(scope, receive, send)


class Backstage:
    """Lets a test change a desk that is served by another process: POST /backstage/dismiss/ann."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take an agent's accounts away; pass everything else on."""
        if scope["type"] == "http" and scope["path"].startswith("/backstage/dismiss/"):
            self._desk.agents[scope["path"].rpartition("/")[2]].clear()
            await Answer(204, ()).send(send, method="POST")
        else:
            await self.app(scope, receive, send)
