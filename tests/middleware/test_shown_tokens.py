"""`Cache-Keys` on requests: a client that knows a newer token is never answered by an older one."""

import httpx
import pytest

from cache_revalidate import CacheRevalidateMiddleware, Revalidator
from cache_revalidate.types import ASGIApp
from tests.middleware.conftest import KEYS, LABELS, PATTERN, Desk, agent, client_of
from tests.support.stores import LaggingStore

LARGER = "8" * 20


@pytest.fixture
def store() -> LaggingStore:
    """A store that can lag behind."""
    return LaggingStore()


@pytest.fixture
def revalidator(store: LaggingStore) -> Revalidator:
    """A revalidator of three models in that store."""
    return Revalidator(["label", "inbox", "team"], store)


@pytest.fixture
def app(desk: Desk, revalidator: Revalidator) -> ASGIApp:
    """The desk behind the middleware, a list of two models declared."""
    routes = {PATTERN: ["team", "label"]}
    return CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=agent, routes=routes)


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_newer_token_is_read_past_the_copies(
    client: httpx.AsyncClient, revalidator: Revalidator, store: LaggingStore, path: str
) -> None:
    """Before anything is compared, the tokens are read past what lags behind what the client shows."""
    store.copies["1"] = await revalidator.tokens(1)
    match = {"if-none-match": (await client.get(path)).headers["etag"]}
    new = await revalidator.bump(1, "label")
    assert (await client.get(path, headers=match)).status_code == 304
    shown = match | {"cache-keys": f'label="{new["label"]}"'}
    fresh = await client.get(path, headers=shown)
    assert fresh.status_code == 200
    shown["if-none-match"] = fresh.headers["etag"]
    assert (await client.get(path, headers=shown)).status_code == 304
    assert (await client.head(path, headers=shown)).status_code == 304
    assert store.shown == [new] * 3


async def test_answer_past_the_copies_is_final(
    client: httpx.AsyncClient, revalidator: Revalidator, store: LaggingStore
) -> None:
    """Tokens that are smaller than the one shown, as those of a restored backup, are answered all the same."""
    tokens = await revalidator.tokens(1, "label", "team")
    answer = await client.get(LABELS, headers={"cache-keys": f'label="{LARGER}"'})
    assert answer.headers["cache-keys"] == f'label="{tokens["label"]}", team="{tokens["team"]}"'
    match = {"if-none-match": answer.headers["etag"], "cache-keys": f'label="{LARGER}"'}
    assert (await client.get(LABELS, headers=match)).status_code == 304
    assert store.shown == [{"label": LARGER}] * 2


async def test_lines_are_one_field(client: httpx.AsyncClient, revalidator: Revalidator, store: LaggingStore) -> None:
    """The field may come in several lines; of a model that comes twice, the last token counts."""
    await revalidator.tokens(1)
    for last in (LARGER, "0" * 20):
        lines = [("cache-keys", f'team="{LARGER}"'), ("cache-keys", f'inbox="{LARGER}", team="{last}"')]
        await client.get(LABELS, headers=lines)
    assert store.shown == [{"team": LARGER}]


@pytest.mark.parametrize(
    "field",
    [
        "",
        f'inbox="{LARGER}"',
        f'desk="{LARGER}"',
        'label="9999999999999999999999"',
        'label="99999999999999999999"',
        'label="1700000000"',
        f"label={LARGER[:15]}",
        f"label=t{LARGER}",
        f'label="{LARGER}", team',
        f'label="{LARGER}",',
        f'label="{LARGER}" team="{LARGER}"',
        f'Label="{LARGER}"',
        f'label="{LARGER}";x=' + "y" * 16_384,
    ],
)
async def test_what_shows_nothing_costs_nothing(
    client: httpx.AsyncClient, revalidator: Revalidator, store: LaggingStore, field: str
) -> None:
    """Models that are not at stake, what is no token, and a field that is malformed or too long, change nothing."""
    await revalidator.tokens(1)
    fresh = await client.get(LABELS, headers={"cache-keys": field})
    match = {"cache-keys": field, "if-none-match": fresh.headers["etag"]}
    assert (await client.get(LABELS, headers=match)).status_code == 304
    assert store.shown == []


@pytest.mark.parametrize("path", [LABELS, KEYS])
async def test_only_who_may_see_the_tenant_may_have_it_read(
    app: ASGIApp, revalidator: Revalidator, store: LaggingStore, path: str
) -> None:
    """Whoever is refused is answered as without the field, and has nothing read."""
    await revalidator.tokens(1)
    shown = {"cache-keys": f'label="{LARGER}"'}
    async with client_of(app, "bob@2") as bob:
        assert (await bob.get(path, headers=shown)).content == (await bob.get(path)).content
    assert store.shown == []


async def test_it_selects_nothing(client: httpx.AsyncClient, store: LaggingStore) -> None:
    """The validator is the same with and without the field, which no Vary names: it chooses no answer."""
    plain = await client.get(LABELS)
    shown = await client.get(LABELS, headers={"cache-keys": f'label="{LARGER}"'})
    assert shown.headers == plain.headers
    assert "Cache-Keys" not in plain.headers["vary"]


async def test_first_read_of_a_tenant_is_past_what_lags(
    client: httpx.AsyncClient, revalidator: Revalidator, store: LaggingStore
) -> None:
    """Where nothing is at hand yet, what is shown goes along with the first read."""
    answer = await client.get(LABELS, headers={"cache-keys": f'label="{LARGER}"'})
    assert store.shown == [{"label": LARGER}]
    assert (await revalidator.tokens(1, "label"))["label"] in answer.headers["cache-keys"]
