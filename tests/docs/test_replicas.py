"""The page on replicas is one program, and its three apps do what the page says."""

import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.docs.pages import DOCS, blocks
from tests.support.fixtures import PostgresDatabase

Names = dict[str, Any]


@pytest_asyncio.fixture
async def names(postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    """Give what the page's blocks define, with one database in place of its two."""
    page = ModuleType("page_on_replicas")
    monkeypatch.setitem(sys.modules, page.__name__, page)  # where Litestar looks up a handler's module
    names = vars(page)
    for block in blocks(DOCS / "replicas.md"):
        code = block.code
        for server in ("primary", "replica"):
            code = code.replace(f"postgresql+asyncpg://{server}/desk", postgres_database.url("asyncpg"))
        exec(compile(code, str(block), "exec"), names)
    async with names["primary"].begin() as connection:
        await connection.run_sync(names["Base"].metadata.create_all)
    yield names
    await names["primary"].dispose()
    await names["replica"].dispose()


@pytest.mark.parametrize("app", ["starlette_app", "fastapi_app", "litestar_app"])
async def test_apps_of_the_page(names: Names, app: str) -> None:
    """Each app's list has the tag of what was bound, and then is not modified until a label is added."""
    transport = httpx.ASGITransport(names[app])
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        first = await client.get("/accounts/1/labels")
        assert (first.status_code, first.json()) == (200, [])
        match = {"if-none-match": first.headers["etag"]}
        assert (await client.get("/accounts/1/labels", headers=match)).status_code == 304
        async with names["sessions"].begin() as session:
            session.add(names["Label"](account_id=1, title="new"))
        second = await client.get("/accounts/1/labels", headers=match)
        assert (second.status_code, second.json()) == (200, ["new"])


async def test_sessions_of_the_page_are_bound(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's three handlers read from a bound session: what is pending in its database is heeded."""
    async with names["primary"].begin() as connection:
        store, keyspace = names["revalidator"].store, names["revalidator"].keyspace
        await names["revalidator"].tokens(1)
        monkeypatch.setattr(store, "read", _tokens_of_elsewhere)
        await connection.run_sync(lambda sync: store.note(keyspace, sync, {"1": ["label"]}))
    for app in ("starlette_app", "fastapi_app", "litestar_app"):
        transport = httpx.ASGITransport(names[app])
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            answer = await client.get("/accounts/1/labels")
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


async def _tokens_of_elsewhere(keyspace: object, tenant: str, models: list[str]) -> dict[str, str]:
    return dict.fromkeys(models, "1" * 20)
