"""The store of one process, beyond the contract."""

import time
from threading import Thread

import pytest

from cache_revalidate import Keyspace, MemoryStore
from cache_revalidate.testing.ear import Ear
from cache_revalidate.types import Tokens

KEYSPACE = Keyspace("app", expiry=10.0)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    """Give a store that measures expiry with that clock."""
    return MemoryStore(monotonic=clock)


async def test_token_lives_for_its_expiry(store: MemoryStore, clock: Clock) -> None:
    """A token is held until its expiry has passed, and not longer, though it was read in between."""
    minted = await store.read(KEYSPACE, "1", ["label"])
    clock.now += 9.999
    assert await store.read(KEYSPACE, "1", ["label"]) == minted
    clock.now += 0.001
    assert await store.read(KEYSPACE, "1", ["label"]) != minted


async def test_held_token_ends_with_its_expiry(store: MemoryStore, clock: Clock) -> None:
    """Tokens are at hand until the first of them has expired, and looking for them mints none."""
    assert store.held(KEYSPACE, "1", ["label"]) is None
    label = await store.read(KEYSPACE, "1", ["label"])
    clock.now += 5.0
    both = await store.read(KEYSPACE, "1", ["inbox", "label"])
    assert store.held(KEYSPACE, "1", ["inbox", "label"]) == both
    assert store.held(KEYSPACE, "2", ["label"]) is None
    clock.now += 4.999
    assert store.held(KEYSPACE, "1", ["label"]) == label
    clock.now += 0.001
    assert store.held(KEYSPACE, "1", ["inbox", "label"]) is None
    assert store.held(KEYSPACE, "1", ["inbox"]) == {"inbox": both["inbox"]}
    assert store.held(Keyspace("other", 10.0), "1", ["inbox"]) is None


async def test_held_tokens_are_of_one_moment(store: MemoryStore) -> None:
    """While a thread bumps two models together, no look finds the one bumped and the other not."""
    changes = {"1": ["inbox", "label"]}
    first = store.bump_sync(KEYSPACE, changes)["1"]
    bumped = {(first["inbox"], first["label"])}
    seen = set()

    def bump() -> None:
        for _ in range(2_000):
            tokens = store.bump_sync(KEYSPACE, changes)["1"]
            bumped.add((tokens["inbox"], tokens["label"]))

    thread = Thread(target=bump)
    thread.start()
    while thread.is_alive():
        held = store.held(KEYSPACE, "1", ["inbox", "label"])
        assert held is not None
        seen.add((held["inbox"], held["label"]))
    thread.join()
    assert seen <= bumped


async def test_bump_renews_the_expiry(store: MemoryStore, clock: Clock) -> None:
    """A bumped token lives for a whole expiry from its bump, while those not bumped end at their time."""
    before = await store.read(KEYSPACE, "1", ["inbox", "label"])
    clock.now += 5.0
    bumped = await store.bump(KEYSPACE, {"1": ["inbox"]})
    clock.now += 5.0
    after = await store.read(KEYSPACE, "1", ["inbox", "label"])
    assert after["inbox"] == bumped["1"]["inbox"]
    assert after["label"] != before["label"]


async def test_expired_tokens_take_no_memory(store: MemoryStore, clock: Clock) -> None:
    """Tokens of tenants that nobody asks for any more are dropped when their time is over."""
    for tenant in range(100):
        await store.read(KEYSPACE, str(tenant), ["label"])
    clock.now += 10.0
    await store.read(KEYSPACE, "1", ["label"])
    assert len(store._minted[KEYSPACE.namespace]) == 1


async def test_tokens_grow_while_the_wall_clock_goes_back(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bump gives a larger token also when this machine's clock has been set back."""
    before = await store.read(KEYSPACE, "1", ["label"])
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000 * 10**9)
    after = await store.bump(KEYSPACE, {"1": ["label"]})
    assert int(after["1"]["label"][:16]) == int(before["label"][:16]) + 1


async def test_namespace_is_shared_whatever_the_expiry(store: MemoryStore, clock: Clock) -> None:
    """Two revalidators of one namespace hear each other's bumps, though their expiries differ."""
    longer = Keyspace(KEYSPACE.namespace, 2 * KEYSPACE.expiry)
    bumped = (await store.bump(longer, {"1": ["label"]}))["1"]
    assert await store.read(KEYSPACE, "1", ["label"]) == bumped
    clock.now += KEYSPACE.expiry
    assert await store.read(longer, "1", ["label"]) == bumped
    assert await store.read(KEYSPACE, "1", ["label"]) != bumped


async def test_tokens_are_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for ever more tenants makes the store forget the oldest tokens, which are then minted anew."""
    monkeypatch.setattr("cache_revalidate.stores.memory._MOST_TOKENS", 10)
    first = {tenant: await store.read(KEYSPACE, str(tenant), ["label"]) for tenant in range(10)}
    await store.bump(KEYSPACE, {"0": ["label"]})
    for tenant in range(10, 15):
        await store.read(KEYSPACE, str(tenant), ["label"])
    assert await store.read(KEYSPACE, "6", ["label"]) == first[6]
    assert (await store.read(KEYSPACE, "1", ["label"]))["label"] > first[1]["label"]


async def test_listeners_are_told_at_once(store: MemoryStore) -> None:
    """Who listens is told before a change returns, with tokens of his own, and not of what changes nothing."""
    ear = Ear()
    assert store.listen(KEYSPACE, "1", ear)
    assert ear.is_told
    read = await store.read(KEYSPACE, "1", ["inbox"])
    bumped = store.bump_sync(KEYSPACE, {"1": ["label"], "2": ["team"]})["1"]
    assert (ear.tokens, ear.times) == (read | bumped, 2)
    await store.read(KEYSPACE, "1", ["inbox", "label"])
    store.raise_tokens_sync(KEYSPACE, {"1": {"label": "0" * 20}})
    assert ear.times == 2
    bumped = store.bump_sync(KEYSPACE, {"1": ["label"]})["1"]
    bumped["label"] = ""
    assert ear.tokens["label"]


async def test_nothing_is_told_of_expiry(store: MemoryStore, clock: Clock) -> None:
    """When a token expires nothing is told, until the next one is minted."""
    ear = Ear()
    store.listen(KEYSPACE, "1", ear)
    tokens = await store.read(KEYSPACE, "1", ["label"])
    clock.now += KEYSPACE.expiry
    await store.read(KEYSPACE, "2", ["label"])
    assert ear.tokens == tokens
    tokens = await store.read(KEYSPACE, "1", ["label"])
    assert ear.tokens == tokens
    assert ear.times == 2


async def test_listeners_are_told_in_order(store: MemoryStore) -> None:
    """However many threads bump, each token that is told is larger than the one before."""
    told: list[str] = []

    class Noting(Ear):
        def heard(self, tokens: Tokens) -> None:
            told.append(tokens["label"])

    store.listen(KEYSPACE, "1", Noting())
    threads = [Thread(target=lambda: [store.bump_sync(KEYSPACE, {"1": ["label"]}) for _ in range(500)]) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 2_000
    assert told == sorted(set(told))


async def test_a_listener_may_look_and_leave(store: MemoryStore) -> None:
    """Who is told may look at what is held, and leave, for himself and for others, who then hear nothing more."""
    held: list[Tokens | None] = []

    class Leaving(Ear):
        def heard(self, tokens: Tokens) -> None:
            held.append(store.held(KEYSPACE, "1", list(tokens)))
            store.leave(KEYSPACE, "1", first)
            store.leave(KEYSPACE, "1", second)

    first, second = Leaving(), Ear()
    store.listen(KEYSPACE, "1", first)
    store.listen(KEYSPACE, "1", second)
    tokens = store.bump_sync(KEYSPACE, {"1": ["label"]})["1"]
    store.bump_sync(KEYSPACE, {"1": ["label"]})
    assert held == [tokens]
    assert second.tokens == {}
    assert store._audiences == {}
