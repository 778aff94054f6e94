"""`Cache-Keys` on the answers to writes: the author sees his own write, and nobody else learns of it."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from cache_revalidate import CacheRevalidateMiddleware, Revalidator
from cache_revalidate.types import ASGIApp
from tests.middleware.conftest import LABELS, PATTERN, Desk, agent, client_of


@pytest.fixture
def bump(desk: Desk, revalidator: Revalidator) -> Callable[..., None]:
    """Make the desk's handler bump."""

    def set_up(*changes: tuple[int, str], run: Callable[[], Awaitable[object]] | None = None) -> None:
        async def handler() -> None:
            for tenant, model in changes:
                await revalidator.bump(tenant, model)

        desk.before_answer = run or handler

    return set_up


@pytest.mark.parametrize("path", [LABELS, "/api/v1/accounts/1/labels/7", "/elsewhere"])
@pytest.mark.parametrize("status", [200, 201, 303, 422])
async def test_a_write_names_the_tokens_it_minted(
    client: httpx.AsyncClient, desk: Desk, revalidator: Revalidator, bump: Callable[..., None], path: str, status: int
) -> None:
    """Whatever path a write has, and however it ends, its answer names what it minted of the author's tenant."""
    bump((1, "label"), (1, "team"), (1, "label"))
    desk.status = status
    answer = await client.post(path)
    tokens = await revalidator.tokens(1)
    assert answer.headers["cache-keys"] == f'label="{tokens["label"]}", team="{tokens["team"]}"'
    assert "etag" not in answer.headers


async def test_a_write_that_minted_nothing_names_nothing(client: httpx.AsyncClient) -> None:
    """A write that changed no cached model is left as it is."""
    assert "cache-keys" not in (await client.post(LABELS)).headers


async def test_who_may_not_see_the_tenant_learns_no_token(
    app: ASGIApp, bump: Callable[..., None], client: httpx.AsyncClient
) -> None:
    """The author of a write to a tenant he may not see is shown none of its tokens."""
    bump((2, "label"))
    assert "cache-keys" not in (await client.post("/public/form")).headers
    assert "cache-keys" not in (await client.post(LABELS.replace("/1/", "/2/"))).headers


async def test_of_two_tenants_the_paths_is_named(client: httpx.AsyncClient, bump: Callable[..., None]) -> None:
    """A write to two tenants names the tokens of the one in its path, and none where the path names none."""
    bump((1, "label"), (2, "team"))
    assert (await client.post(LABELS)).headers["cache-keys"].startswith("label=")
    assert "team" not in (await client.post(LABELS)).headers["cache-keys"]
    assert "cache-keys" not in (await client.post("/move")).headers


async def test_bumps_from_tasks_and_threads_are_named(
    client: httpx.AsyncClient, revalidator: Revalidator, bump: Callable[..., None]
) -> None:
    """What a handler's tasks and threads mint counts as the request's own."""

    async def handler() -> None:
        await asyncio.create_task(revalidator.bump(1, "inbox"))
        await asyncio.to_thread(revalidator.sync.bump, 1, "label")

    bump(run=handler)
    assert set((await client.post(LABELS)).headers["cache-keys"].split('"')[::2]) == {"inbox=", ", label=", ""}


async def test_parallel_writes_name_their_own_tokens(client: httpx.AsyncClient, bump: Callable[..., None]) -> None:
    """Of many writes at once each names tokens of its own."""
    bump((1, "label"))
    answers = await asyncio.gather(*(client.post(LABELS) for _ in range(30)))
    assert len({answer.headers["cache-keys"] for answer in answers}) == 30


async def test_the_apps_own_cache_keys_stay(client: httpx.AsyncClient, desk: Desk, bump: Callable[..., None]) -> None:
    """An app that sets the field itself has the last word."""
    bump((1, "label"))
    desk.headers.append((b"cache-keys", b'label="own"'))
    assert (await client.post(LABELS)).headers.get_list("cache-keys") == ['label="own"']


async def test_two_revalidators_keep_their_mints_apart(desk: Desk) -> None:
    """Under two middlewares, the answer to a write names the tokens of the revalidator that minted."""
    outer, inner = Revalidator(["label"]), Revalidator(["team"], namespace="other")

    async def handler() -> None:
        await inner.bump(1, "team")
        await outer.bump(1, "label")

    desk.before_answer = handler
    app = CacheRevalidateMiddleware(
        CacheRevalidateMiddleware(
            desk, revalidator=inner, authorize=agent, keys_path=None, routes={"/teams/{account_id:int}": ["team"]}
        ),
        revalidator=outer,
        authorize=agent,
        routes={PATTERN: ["label"]},
    )
    async with client_of(app) as client:
        assert (await client.post(LABELS)).headers["cache-keys"].startswith("team=")
