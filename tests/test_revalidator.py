"""The one object that an app holds."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from cache_revalidate import (
    EVERYONE,
    ConfigurationError,
    InvalidTenantError,
    Keyspace,
    MemoryStore,
    NullStore,
    Revalidator,
    Stats,
    StoreError,
    UnknownModelError,
)
from cache_revalidate.types import Changes, Tokens

MODELS = ["inbox", "label", "team"]
TAG_OF_EVERYONE = "7c25f3d872d5044f9cd35abb"


class FailingStore(MemoryStore):
    """A memory store that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.bumped: list[dict[str, set[str]]] = []
        self.shown: list[Tokens] = []

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Read, or fail."""
        self._fail_if_away()
        return await super().read(keyspace, tenant, models)

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Hold what there is, or nothing."""
        return None if self.away else super().held(keyspace, tenant, models)

    async def read_past(self, keyspace: Keyspace, tenant: str, models: Sequence[str], shown: Tokens) -> Tokens:
        """Read, and note what was shown."""
        self.shown.append(shown)
        return await self.read(keyspace, tenant, models)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump, or fail."""
        self._fail_if_away()
        self.bumped.append({tenant: set(models) for tenant, models in changes.items()})
        return super().bump_sync(keyspace, changes)

    async def check(self) -> None:
        """Pass, or fail."""
        self._fail_if_away()

    def _fail_if_away(self) -> None:
        if self.away:
            raise StoreError("the store is away")


@pytest.fixture
def store() -> FailingStore:
    """Give a store that can be away."""
    return FailingStore()


@pytest.fixture
def revalidator(store: FailingStore) -> Revalidator:
    """Give a revalidator on that store."""
    return Revalidator(MODELS, store)


async def test_tokens_of_all_models(revalidator: Revalidator) -> None:
    """Without models named, all of the tenant's tokens are read, and stay as they are."""
    tokens = await revalidator.tokens(1)
    assert list(tokens) == MODELS
    assert await revalidator.tokens("1") == tokens


async def test_held_tokens_are_those_that_a_read_gives(revalidator: Revalidator, store: FailingStore) -> None:
    """What is at hand is given at once, and counted; what is not is left to a read, and mints nothing."""
    assert revalidator.held("1", ("label", "team")) is None
    tokens = await revalidator.tokens(1, "label", "team")
    assert revalidator.held("1", ("label", "team")) == tokens
    assert revalidator.held("1", ("inbox", "label")) is None
    assert revalidator.stats == Stats(reads=2)
    bumped = await revalidator.bump(1, "label")
    assert revalidator.held("1", ("label",)) == bumped
    assert await revalidator.read("1", ("label", "team")) == tokens | bumped


async def test_nothing_is_held_while_something_is_owed(revalidator: Revalidator, store: FailingStore) -> None:
    """Tokens that are about to be bumped are not at hand: the read that pays comes first."""
    before = await revalidator.tokens(1, "label")
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    store.away = False
    assert revalidator.held("1", ("label",)) is None
    after = await revalidator.tokens(1, "label")
    assert after["label"] > before["label"]
    assert revalidator.held("1", ("label",)) == after


async def test_larger_token_is_read_past_what_is_held(revalidator: Revalidator, store: FailingStore) -> None:
    """Who shows a larger token has nothing at hand, and the store is told; what it answers then is final."""
    tokens = await revalidator.tokens(1, "label", "team")
    smaller, larger = {"label": "0" * 20, "team": tokens["team"]}, {"team": "8" * 20}
    assert revalidator.held("1", ("label", "team"), smaller) == tokens
    assert revalidator.held("1", ("label",), larger) == {"label": tokens["label"]}
    assert revalidator.held("1", ("label", "team"), larger) is None
    assert store.shown == []
    assert await revalidator.tokens(1, "label", "team", shown=larger) == tokens
    assert store.shown == [larger]


async def test_tokens_of_some_models(revalidator: Revalidator) -> None:
    """With models named, theirs alone are read."""
    tokens = await revalidator.tokens(1)
    assert await revalidator.tokens(1, "team", "label") == {"label": tokens["label"], "team": tokens["team"]}


async def test_bump(revalidator: Revalidator) -> None:
    """A bump changes the tokens of the models named, for that tenant alone, and returns them."""
    before, of_other = await revalidator.tokens(1), await revalidator.tokens(2)
    bumped = await revalidator.bump(1, "label", "team")
    assert bumped.keys() == {"label", "team"}
    assert await revalidator.tokens(1) == before | bumped
    assert all(bumped[model] > before[model] for model in bumped)
    assert await revalidator.tokens(2) == of_other


def test_sync_bump(revalidator: Revalidator) -> None:
    """The synchronous door bumps as the asynchronous methods do."""
    first = revalidator.sync.bump(1, "label")
    assert first.keys() == {"label"}
    assert revalidator.sync.bump_many({1: ["label"], 2: ["team"]})["1"]["label"] > first["label"]
    assert list(revalidator.sync.reset(1)) == MODELS


async def test_reset(revalidator: Revalidator) -> None:
    """A reset bumps all models of a tenant."""
    before = await revalidator.tokens(1)
    after = await revalidator.reset(1)
    assert all(after[model] > before[model] for model in MODELS)
    assert await revalidator.tokens(1) == after


async def test_bump_many_is_one_call(revalidator: Revalidator, store: FailingStore) -> None:
    """Several tenants are one call of the store, in which two spellings of a tenant are one."""
    bumped = await revalidator.bump_many({1: ["label"], "1": ["team"], 2: ("inbox", "inbox"), 3: []})
    assert store.bumped == [{"1": {"label", "team"}, "2": {"inbox"}}]
    assert {tenant: set(tokens) for tenant, tokens in bumped.items()} == store.bumped[0]


async def test_bump_many_of_nothing_asks_nobody(revalidator: Revalidator, store: FailingStore) -> None:
    """Where nothing changed, the store is not asked, nor anything counted."""
    store.away = True
    assert await revalidator.bump_many({}) == {}
    assert revalidator.sync.bump_many({1: []}) == {}
    assert revalidator.stats == Stats()


async def test_bump_of_no_model_is_an_error(revalidator: Revalidator) -> None:
    """A bump that names no model is an error that names `reset`."""
    with pytest.raises(UnknownModelError, match="reset"):
        await revalidator.bump(1)
    with pytest.raises(UnknownModelError, match="reset"):
        revalidator.sync.bump(1)


async def test_unknown_model(revalidator: Revalidator, store: FailingStore) -> None:
    """An unknown model is an error that lists the known ones, and nothing is bumped."""
    with pytest.raises(UnknownModelError, match="'labels': this revalidator has inbox, label, team"):
        await revalidator.bump(1, "label", "labels")
    with pytest.raises(UnknownModelError):
        await revalidator.bump_many({1: ["label"], 2: ["labels"]})
    with pytest.raises(UnknownModelError):
        await revalidator.tokens(1, "labels")
    with pytest.raises(UnknownModelError, match="each for itself"):
        await revalidator.bump(1, ["label"])  # type: ignore[arg-type]
    assert not store.bumped


async def test_bad_tenant(revalidator: Revalidator, store: FailingStore) -> None:
    """A value that can't be a tenant is refused before the store sees it."""
    for tenant in ("", "a/b", None, -1):
        with pytest.raises(InvalidTenantError):
            await revalidator.tokens(tenant)
        with pytest.raises(InvalidTenantError):
            await revalidator.bump(tenant, "label")
        with pytest.raises(InvalidTenantError):
            revalidator.sync.bump_many({1: ["label"], tenant: ["label"]})
    assert not store.bumped


def test_known_models(revalidator: Revalidator) -> None:
    """Models are sorted, each once, and a lone name is a list of one."""
    assert revalidator.known_models(["team", "label", "team"]) == ("label", "team")
    assert revalidator.known_models("label") == ("label",)
    assert revalidator.known_models([]) == ()


def test_canonical_function() -> None:
    """A function of the app's own makes tenants canonical, and what it can't take is refused."""
    revalidator = Revalidator(MODELS, canonical=lambda value: str(UUID(str(value))))
    assert revalidator.tenant("{12345678-1234-5678-1234-56781234567A}") == "12345678-1234-5678-1234-56781234567a"
    assert not revalidator.has_default_canonical
    with pytest.raises(InvalidTenantError, match="made no tenant of 'nonsense'"):
        revalidator.tenant("nonsense")
    with pytest.raises(InvalidTenantError, match="can't be a tenant"):
        Revalidator(MODELS, canonical=str).tenant("a/b")
    assert Revalidator(MODELS).has_default_canonical


def test_tag_depends_on_viewer_salt_and_epoch() -> None:
    """The tag differs by viewer, by salt and by epoch, and wherever their characters are split differently."""
    tags = [
        Revalidator(MODELS, salt=salt, epoch=epoch).tag(viewer)
        for viewer in (EVERYONE, "", "=", "a", "ab")
        for salt in ("", "a", "ab", "b")
        for epoch in ("", "a", "ab", "b")
    ]
    assert len(set(tags)) == len(tags)


def test_tag_is_the_same_in_every_process() -> None:
    """The tag does not depend on the process: its value is fixed here."""
    assert Revalidator(MODELS, salt="build 7").tag("agent 1") == Revalidator(["x"], salt="build 7").tag("agent 1")
    assert Revalidator(MODELS).tag(EVERYONE) == TAG_OF_EVERYONE


async def test_stats(revalidator: Revalidator, store: FailingStore) -> None:
    """Reads and bumps are counted, and those that the store did not take are counted apart."""
    await revalidator.tokens(1)
    await revalidator.bump(1, "label")
    revalidator.sync.bump_many({1: ["label"], 2: ["label"]})
    assert revalidator.stats == Stats(reads=1, bumps=2)
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.tokens(1)
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    with pytest.raises(StoreError):
        revalidator.sync.bump(1, "label")
    assert revalidator.stats == Stats(reads=1, bumps=2, failed_reads=1, failed_bumps=2)


async def test_owed_bump_is_paid_by_the_next_read(revalidator: Revalidator, store: FailingStore) -> None:
    """A bump that the store did not take is made up for before the next read is answered, whoever it is for."""
    before, of_other = await revalidator.tokens(1), await revalidator.tokens(2)
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    with pytest.raises(StoreError):
        revalidator.sync.bump(2, "team")
    with pytest.raises(StoreError):
        await revalidator.tokens(1)
    store.away = False
    after = await revalidator.tokens(1)
    assert after["label"] > before["label"]
    assert (after["inbox"], after["team"]) == (before["inbox"], before["team"])
    assert store.bumped == [{"1": {"label"}, "2": {"team"}}]
    assert (await revalidator.tokens(2))["team"] > of_other["team"]
    assert await revalidator.tokens(1) == after
    assert len(store.bumped) == 1


@pytest.mark.parametrize("sync", [False, True])
async def test_owed_bump_is_paid_by_the_next_bump(sync: bool, revalidator: Revalidator, store: FailingStore) -> None:
    """The next bump takes what is owed along, in the same call."""
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    store.away = False
    if sync:
        revalidator.sync.bump_many({1: ["team"], 2: ["team"]})
    else:
        await revalidator.bump_many({1: ["team"], 2: ["team"]})
    assert store.bumped == [{"1": {"label", "team"}, "2": {"team"}}]


async def test_read_of_owed_tokens_is_never_old(revalidator: Revalidator, store: FailingStore) -> None:
    """While an owed bump is on its way, no read is answered with the token that it is about to change."""
    before = await revalidator.tokens(1)
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    store.away = False
    reads = await asyncio.gather(*(revalidator.tokens(1, "label") for _ in range(20)))
    assert all(tokens["label"] > before["label"] for tokens in reads)


async def test_cancelled_bump_is_owed() -> None:
    """A bump that is cancelled on its way is owed: nobody knows whether the store took it."""

    class SlowStore(FailingStore):
        async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
            if not waiting.is_set():
                waiting.set()
                await asyncio.Event().wait()
            return await super().bump(keyspace, changes)

    waiting = asyncio.Event()
    slow = SlowStore()
    revalidator = Revalidator(MODELS, slow)
    before = await revalidator.tokens(1)
    task = asyncio.create_task(revalidator.bump(1, "label"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await revalidator.tokens(1))["label"] > before["label"]
    assert slow.bumped == [{"1": {"label"}}]


async def test_bump_that_fails_while_another_is_paid_stays_owed() -> None:
    """Paying settles what was owed when it began; what fails meanwhile stays owed."""

    class HookedStore(FailingStore):
        def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
            bumped = super().bump_sync(keyspace, changes)
            hooks.pop()()
            return bumped

    def fail_another() -> None:
        store.away = True
        with pytest.raises(StoreError):
            revalidator.sync.bump(1, "label")
        store.away = False

    hooks: list[Callable[[], object]] = [dict, fail_another]
    store = HookedStore()
    revalidator = Revalidator(MODELS, store)
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.bump(1, "label")
    store.away = False
    await revalidator.tokens(1)
    await revalidator.tokens(1)
    await revalidator.tokens(1)
    assert store.bumped == [{"1": {"label"}}] * 2


async def test_lifespan_closes_the_store() -> None:
    """The lifespan closes the store at the end, also when the app failed."""
    closed: list[bool] = []

    class ClosingStore(NullStore):
        async def aclose(self) -> None:
            closed.append(True)

    revalidator = Revalidator(MODELS, ClosingStore())
    async with revalidator.lifespan():
        assert not closed
    with pytest.raises(ZeroDivisionError):
        async with revalidator.lifespan(object()):
            raise ZeroDivisionError
    assert closed == [True, True]


async def test_lifespan_starts_without_the_store(
    revalidator: Revalidator, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    """An app whose store is away starts all the same, and the log says so once."""
    store.away = True
    async with revalidator.lifespan():
        store.away = False
        await revalidator.tokens(1)
    assert [(record.levelno, record.name) for record in caplog.records] == [(logging.ERROR, "cache_revalidate")]
    assert "the store is away" in caplog.text


def test_default_store_is_memory() -> None:
    """Without a store named, tokens are held in memory, for 72 hours."""
    revalidator = Revalidator(MODELS)
    assert isinstance(revalidator.store, MemoryStore)
    assert revalidator.keyspace == Keyspace("cache_revalidate", 72 * 3600.0)


def test_models_are_sorted() -> None:
    """Models may come in any order and in any iterable."""
    assert Revalidator(iter(["team", "inbox_member", "a1"])).models == ("a1", "inbox_member", "team")


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "models is empty"),
        ("label", {}, r"write models=\['label'\]"),
        (["label", "label"], {}, "declared twice"),
        (["Label"], {}, "snake_case"),
        (["inbox-member"], {}, "snake_case"),
        (["1st"], {}, "snake_case"),
        (["_label"], {}, "snake_case"),
        (["label\n"], {}, "snake_case"),
        ([""], {}, "snake_case"),
        (["x" * 65], {}, "snake_case"),
        ([7], {}, "snake_case"),
        (None, {}, r'write models=\["label"\]'),
        (MODELS, {"store": "redis://localhost"}, "not a Store"),
        (MODELS, {"store": MemoryStore}, "not a Store"),
        (MODELS, {"namespace": ""}, "namespace"),
        (MODELS, {"namespace": "a b"}, "namespace"),
        (MODELS, {"namespace": "{a}"}, "namespace"),
        (MODELS, {"namespace": "x" * 65}, "namespace"),
        (MODELS, {"namespace": None}, "namespace"),
        (MODELS, {"expiry": 0}, "72 hours are expiry=72"),
        (MODELS, {"expiry": 0.5}, "72 hours are expiry=72"),
        (MODELS, {"expiry": 1e18}, "72 hours are expiry=72"),
        (MODELS, {"expiry": -1}, "72 hours are expiry=72"),
        (MODELS, {"expiry": "72"}, "72 hours are expiry=72"),
        (MODELS, {"expiry": float("inf")}, "72 hours are expiry=72"),
        (MODELS, {"expiry": float("nan")}, "72 hours are expiry=72"),
        (MODELS, {"canonical": None}, "pass a function"),
        (MODELS, {"salt": 7}, "salt='7'"),
        (MODELS, {"epoch": None}, "epoch is a NoneType"),
    ],
)
def test_wrong_configuration(models: Any, options: dict[str, Any], message: str) -> None:
    """What could not work is an error when the revalidator is made, which says what would."""
    with pytest.raises(ConfigurationError, match=message):
        Revalidator(models, **options)


@pytest.mark.parametrize("broken", [lambda value: value, lambda value: {}[value], lambda value: None])
def test_broken_canonical_function(broken: Any) -> None:
    """A canonical function that raises whatever, or returns no string, makes an invalid tenant, not a crash."""
    with pytest.raises(InvalidTenantError):
        Revalidator(MODELS, canonical=broken).tenant(7)


async def test_long_outage_is_paid_in_parts(store: FailingStore) -> None:
    """Of the bumps that many tenants are owed, a read pays its own tenant's and a part of the others'."""
    revalidator = Revalidator(["label"], store)
    before = {tenant: await revalidator.tokens(tenant) for tenant in (1, 999)}
    store.away = True
    for tenant in range(1_000):
        with pytest.raises(StoreError):
            await revalidator.bump(tenant, "label")
    store.away = False
    assert (await revalidator.tokens(999))["label"] > before[999]["label"]
    assert (await revalidator.tokens(1))["label"] > before[1]["label"]
    for _ in range(8):
        await revalidator.tokens(5_000)
    paid = [len(changes) for changes in store.bumped]
    assert (sum(paid) >= 1_000, max(paid) <= 257) == (True, True)
    assert not revalidator._owed


async def test_bump_returns_what_it_was_asked_for(store: FailingStore) -> None:
    """What a bump pays beside its own is not in its answer."""
    revalidator = Revalidator(MODELS, store)
    store.away = True
    with pytest.raises(StoreError):
        await revalidator.bump_many({1: ["team"], 2: ["label"]})
    store.away = False
    assert set(await revalidator.bump(1, "label")) == {"label"}
    assert not revalidator._owed


def test_any_viewer_has_a_tag() -> None:
    """A viewer may be any string at all."""
    assert Revalidator(MODELS).tag("\ud800") != Revalidator(MODELS).tag("\ud801")
