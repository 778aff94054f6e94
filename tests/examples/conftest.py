"""The running apps, each started once for all tests that ask for it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.examples.desks import SETUPS, Desk, Setup, running
from tests.support.servers import PostgresServer, RedisServer


@pytest.fixture(scope="session", params=SETUPS, ids=str)
def desk(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
) -> Iterator[Desk]:
    """Give each setup in turn; narrow the choice with an indirect parametrisation."""
    setup: Setup = request.param
    with running(setup, tmp_path_factory.mktemp("desk"), postgres_server, redis_server) as desk:
        yield desk


@pytest.fixture
def agent(desk: Desk) -> Iterator[httpx.Client]:
    """Give a client signed in as the agent of account 1."""
    with desk.client("demo-agent-1") as client:
        yield client


@pytest.fixture
def other_agent(desk: Desk) -> Iterator[httpx.Client]:
    """Give a client signed in as the agent of account 2."""
    with desk.client("demo-agent-2") as client:
        yield client


@pytest.fixture
def admin(desk: Desk) -> Iterator[httpx.Client]:
    """Give a client signed in as the admin of both accounts."""
    with desk.client("demo-admin") as client:
        yield client


@pytest.fixture
def anonymous(desk: Desk) -> Iterator[httpx.Client]:
    """Give a client that is not signed in."""
    with desk.client(None) as client:
        yield client
