"""The README's apps, pasted and run: SQLAlchemy's block, and a framework's after it."""

import importlib.util
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from tests.docs.lifespan import running
from tests.docs.pages import README, REPOSITORY, blocks
from tests.support.servers import RedisServer

FRAMEWORKS = ["Starlette", "FastAPI", "Litestar"]
BLOCKS = {block.heading: block.code for block in blocks(README) if block.language == "python"}
REDIS_ADDRESS = "redis://localhost"
LABELS = "/api/v1/accounts/1/labels"
ANN = {"authorization": "Bearer ann"}


@pytest.fixture(params=FRAMEWORKS)
async def desk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server_own: RedisServer
) -> AsyncIterator[ModuleType]:
    """A module with SQLAlchemy's block and a framework's pasted into it, its app running."""
    code = BLOCKS["SQLAlchemy"] + BLOCKS[request.param]
    assert code.count(REDIS_ADDRESS) == 1
    file = tmp_path / "pasted.py"
    file.write_text(code.replace(REDIS_ADDRESS, redis_server_own.url))
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("pasted", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pasted", module)
    spec.loader.exec_module(module)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(module.engine.dispose)
        async with module.engine.begin() as connection:
            await connection.run_sync(module.Base.metadata.create_all)
        await stack.enter_async_context(running(module.app))
        yield module


@pytest.fixture
async def client(desk: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the pasted app."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(desk.app), base_url="http://desk.test") as client:
        yield client


async def commit_label(desk: ModuleType, title: str) -> None:
    """Commit a label of account 1."""
    async with desk.sessions.begin() as session:
        session.add(desk.Label(account_id=1, title=title))


async def test_a_pasted_app_answers_304_until_a_commit(desk: ModuleType, client: httpx.AsyncClient) -> None:
    """The second GET is a 304; a commit makes the next one a 200 again, and changes the account's cache keys."""
    await commit_label(desk, "urgent")
    first = await client.get(LABELS, headers=ANN)
    assert (first.status_code, first.json()) == (200, ["urgent"])
    keys = (await client.get("/api/v1/accounts/1/cache_keys", headers=ANN)).json()["cache_keys"]
    condition = ANN | {"if-none-match": first.headers["etag"]}
    assert (await client.get(LABELS, headers=condition)).status_code == 304
    await commit_label(desk, "billing")
    second = await client.get(LABELS, headers=condition)
    assert (second.status_code, second.json()) == (200, ["urgent", "billing"])
    assert (await client.get("/api/v1/accounts/1/cache_keys", headers=ANN)).json()["cache_keys"] != keys


async def test_a_pasted_app_refuses_whom_it_should(client: httpx.AsyncClient) -> None:
    """Another account's agent and an anonymous client get no 304 and no keys."""
    etag = (await client.get(LABELS, headers=ANN)).headers["etag"]
    for signed_in in ({"authorization": "Bearer bob"}, {}):
        assert (await client.get(LABELS, headers={**signed_in, "if-none-match": etag})).status_code == 403
        assert (await client.get("/api/v1/accounts/1/cache_keys", headers=signed_in)).status_code == 403


async def test_a_pasted_app_outlives_redis(
    desk: ModuleType, client: httpx.AsyncClient, redis_server_own: RedisServer
) -> None:
    """With Redis dead the app commits, answers with the new token, and then 304 again: the database has the tokens."""
    etag = (await client.get(LABELS, headers=ANN)).headers["etag"]
    redis_server_own.kill()
    await commit_label(desk, "urgent")
    answer = await client.get(LABELS, headers=ANN | {"if-none-match": etag})
    assert (answer.status_code, answer.json()) == (200, ["urgent"])
    assert (await client.get(LABELS, headers=ANN | {"if-none-match": answer.headers["etag"]})).status_code == 304
    assert (await client.get("/api/v1/accounts/1/cache_keys", headers=ANN)).status_code == 200


def test_every_block_of_the_readme_is_used() -> None:
    """No Python block stands in the README that these tests don't run."""
    assert list(BLOCKS) == ["SQLAlchemy", *FRAMEWORKS]
    assert len(BLOCKS) == sum(block.language == "python" for block in blocks(README))


def test_the_readmes_links_lead_somewhere() -> None:
    """Every page that the README links to is there."""
    for target in re.findall(r"\]\(([^)#]+)", README.read_text()):
        assert target.startswith("https://") or (REPOSITORY / target).exists(), target
