"""A desk for the tests of push: who may see what, and a hub whose settings a test may choose."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cache_revalidate import CacheRevalidateMiddleware, Connection, Grant, Refused, Revalidator, Viewer
from cache_revalidate.push.hub import Hub
from cache_revalidate.push.settings import HubSettings
from cache_revalidate.stores import Store
from tests.push.asgi import Clock, nothing

MODELS = ["inbox", "label", "team"]

Rule = Callable[[str, str], Any]
"""Given an agent and a tenant: what `authorize` answers, or a coroutine for it."""


@dataclass
class Desk:
    """An app with push, and what a test may turn."""

    revalidator: Revalidator
    hub: Hub
    rule: Rule = lambda agent, tenant: agent
    asked: list[tuple[str, str]] = field(default_factory=list)

    def authorize(self, connection: Connection, tenant: str) -> Viewer | Grant | None:
        """Answer by the rule of the moment."""
        agent = connection.headers["x-agent"]
        self.asked.append((agent, tenant))
        if agent == "nobody":
            raise Refused("Bearer")
        answer: Viewer | Grant | None = self.rule(agent, tenant)
        return answer

    def app(self, **options: Any) -> CacheRevalidateMiddleware[Connection]:
        """Return the app behind the middleware."""
        return CacheRevalidateMiddleware(
            nothing, revalidator=self.revalidator, authorize=self.authorize, push=self.hub, **options
        )


MakeDesk = Callable[..., Desk]


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    """The event loop's clock, which a test may turn forward."""
    yield Clock()


@pytest.fixture
def make_desk(clock: Clock) -> MakeDesk:
    """Makes a desk; given settings are the hub's."""

    def make(store: Store | None = None, *, tickets: Any = None, origins: Any = (), **settings: Any) -> Desk:
        revalidator = Revalidator(MODELS, store)
        hub = Hub(revalidator, tickets=tickets, origins=origins, settings=HubSettings(**settings))
        return Desk(revalidator, hub)

    return make


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    """A desk with all defaults."""
    return make_desk()
