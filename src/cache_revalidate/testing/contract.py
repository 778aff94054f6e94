"""The contract of `Store` as a test suite."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import pytest

from cache_revalidate.stores import Keyspace, Store
from cache_revalidate.testing.ear import Ear, listening, until
from cache_revalidate.token import is_token

if TYPE_CHECKING:
    from cache_revalidate.types import Tokens

_EXPIRY = 1.0
_EXPIRED_BY = 5.0
_POLL = 0.02


@pytest.mark.asyncio
class StoreContract:
    """The tests that every store of version tokens passes: subclass it, and give it your store as a fixture.

    ::

        class TestMyStore(StoreContract):
            @pytest_asyncio.fixture
            async def store(self):
                store = MyStore(...)
                yield store
                await store.aclose()

    Each test has a keyspace of its own, so your store may stand on a server that other tests use. One test waits a
    second, for a token to expire.
    """

    remembers: ClassVar[bool] = True
    """Whether a token that was read or bumped is there when it is next read; False for a store like `NullStore`."""

    shares: ClassVar[bool] = False
    """Whether bumps at the same time may be given one token together, as by a store whose truth is in a database."""

    @pytest.fixture
    def store(self) -> Store:
        """Give the store to be tested, new or emptied; override it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `store`, which gives the store to be tested.")

    @pytest.fixture
    def keyspace(self) -> Keyspace:
        """Give a keyspace that no other test uses."""
        return Keyspace(f"contract-{uuid.uuid4()}", expiry=60.0)

    @pytest.fixture
    def another(self, store: Store) -> Store:
        """Give another store on the same data, as another process has it; override it, if there can be one."""
        return store

    async def test_missing_tokens_are_minted(self, store: Store, keyspace: Keyspace) -> None:
        """A read answers a well-formed token for each model asked for, and for no other."""
        tokens = await store.read(keyspace, "1", ["inbox", "label"])
        assert sorted(tokens) == ["inbox", "label"]
        assert all(is_token(token) for token in tokens.values())

    async def test_minted_tokens_are_unique(self, store: Store, keyspace: Keyspace) -> None:
        """What is minted for a missing token is never a constant, nor the token of another model or tenant."""
        tokens = [await store.read(keyspace, str(tenant), ["inbox", "label", "team"]) for tenant in range(20)]
        # Two of one microsecond may be equal by chance: it is one pair's tokens that never are.
        assert len({token for of_tenant in tokens for token in of_tenant.values()}) > 57  # noqa: PLR2004

    async def test_reads_agree(self, store: Store, keyspace: Keyspace) -> None:
        """A token that nobody bumps stays as it is (and in a store that remembers nothing, is new each time)."""
        first = await store.read(keyspace, "1", ["inbox", "label"])
        second = await store.read(keyspace, "1", ["inbox", "label"])
        assert [first[model] == second[model] for model in first] == [self.remembers] * 2

    async def test_first_read_of_another_model_keeps_the_first(self, store: Store, keyspace: Keyspace) -> None:
        """Minting one model's token leaves the others' alone."""
        label = await store.read(keyspace, "1", ["label"])
        both = await store.read(keyspace, "1", ["inbox", "label"])
        assert (both["label"] == label["label"]) is self.remembers

    async def test_held_tokens_are_what_a_read_answers(self, store: Store, keyspace: Keyspace) -> None:
        """What is at hand, if anything is, is what the next read gives; to look for it mints nothing."""
        models = ["inbox", "label"]
        assert store.held(keyspace, "1", models) is None
        read = await store.read(keyspace, "1", models)
        assert store.held(keyspace, "1", models) in (None, read)
        assert store.held(keyspace, "2", models) is None
        bumped = await store.bump(keyspace, {"1": ["label"]})
        held = store.held(keyspace, "1", models)
        assert held in (None, read | bumped["1"])
        assert held is None or await store.read(keyspace, "1", models) == held

    async def test_read_past_is_a_read(self, store: Store, keyspace: Keyspace) -> None:
        """Whatever token a caller has shown, the answer is the store's own, and no token grows by it."""
        before = await store.read(keyspace, "1", ["inbox", "label"])
        for shown in ({}, {"label": "0" * 20}, {"label": "8" * 20, "team": "8" * 20}):
            past = await store.read_past(keyspace, "1", ["inbox", "label"], shown)
            assert sorted(past) == ["inbox", "label"]
            assert (past == before) is self.remembers
        assert (await store.read(keyspace, "1", ["inbox", "label"]) == before) is self.remembers

    async def test_bump_grows_the_named_tokens_alone(self, store: Store, keyspace: Keyspace) -> None:
        """A bump makes the named tokens larger strings, and leaves the tenant's others and other tenants alone."""
        models = ["inbox", "label", "team"]
        before, of_other = await store.read(keyspace, "1", models), await store.read(keyspace, "2", models)
        await store.bump(keyspace, {"1": ["inbox", "team"]})
        after = await store.read(keyspace, "1", models)
        assert after["inbox"] > before["inbox"]
        assert after["team"] > before["team"]
        assert (after["label"] == before["label"]) is self.remembers
        assert (await store.read(keyspace, "2", models) == of_other) is self.remembers

    async def test_bump_answers_the_next_read(self, store: Store, keyspace: Keyspace) -> None:
        """What a bump returns, for each tenant and model named, is what the next read gives."""
        changes = {"1": ["inbox", "label"], "2": ["team"], "tenant-3": ["label"]}
        bumped = await store.bump(keyspace, changes)
        assert {tenant: sorted(tokens) for tenant, tokens in bumped.items()} == changes
        assert all(is_token(token) for tokens in bumped.values() for token in tokens.values())
        for tenant, models in changes.items():
            assert (await store.read(keyspace, tenant, models) == bumped[tenant]) is self.remembers

    async def test_sync_bump_is_a_bump(self, store: Store, keyspace: Keyspace) -> None:
        """A synchronous bump grows the tokens as an asynchronous one does, and the next read gives them."""
        before = await store.bump(keyspace, {"1": ["label"], "2": ["label"]})
        bumped = store.bump_sync(keyspace, {"1": ["label"], "2": ["label"]})
        for tenant in ("1", "2"):
            assert bumped[tenant]["label"] > before[tenant]["label"]
            assert (await store.read(keyspace, tenant, ["label"]) == bumped[tenant]) is self.remembers

    async def test_sync_bump_works_in_another_thread(self, store: Store, keyspace: Keyspace) -> None:
        """A synchronous bump may come from a thread without an event loop."""
        bumped = await asyncio.to_thread(store.bump_sync, keyspace, {"1": ["label"]})
        assert (await store.read(keyspace, "1", ["label"]) == bumped["1"]) is self.remembers

    async def test_models_may_come_in_any_collection(self, store: Store, keyspace: Keyspace) -> None:
        """The models of a change may be a tuple, a set, a frozen set or a mapping's keys."""
        for models in (("inbox", "label"), {"inbox", "label"}, frozenset(("inbox", "label")), {"inbox": 1}.keys()):
            assert (await store.bump(keyspace, {"1": models}))["1"].keys() == set(models)

    async def test_namespaces_are_apart(self, store: Store, keyspace: Keyspace) -> None:
        """The same tenant and model in two namespaces have tokens of their own."""
        other = Keyspace(f"{keyspace.namespace}-other", keyspace.expiry)
        first, second = await store.read(keyspace, "1", ["label"]), await store.read(other, "1", ["label"])
        assert first != second
        await store.bump(keyspace, {"1": ["label"]})
        assert (await store.read(other, "1", ["label"]) == second) is self.remembers

    async def test_similar_tenants_are_apart(self, store: Store, keyspace: Keyspace) -> None:
        """Tenants and models whose names run into each other are never taken for one another."""
        tenants = ["1", "1-label", "1:label", "1.", "a", "A", "a@b", "~", "-", "x" * 128]
        tokens = [(await store.bump(keyspace, {tenant: ["label"]}))[tenant]["label"] for tenant in tenants]
        read = [(await store.read(keyspace, tenant, ["label"]))["label"] for tenant in tenants]
        assert (read == tokens) is self.remembers

    async def test_bumps_in_one_millisecond_differ(self, store: Store, keyspace: Keyspace) -> None:
        """Bumps in quick succession each give a token of their own, larger than those before."""
        tokens = [(await store.bump(keyspace, {"1": ["label"]}))["1"]["label"] for _ in range(50)]
        assert len(set(tokens)) == len(tokens)
        assert tokens == sorted(tokens) or not self.remembers

    async def test_parallel_bumps_differ(self, store: Store, keyspace: Keyspace) -> None:
        """Bumps at the same time each give a token of their own, unless they are shared, and the largest stays."""
        bumps = [store.bump(keyspace, {"1": ["label"], "2": ["label"]}) for _ in range(100)]
        tokens = [bumped["1"]["label"] for bumped in await asyncio.gather(*bumps)]
        assert len(set(tokens)) == len(tokens) or self.shares
        assert ((await store.read(keyspace, "1", ["label"]))["label"] == max(tokens)) is self.remembers

    async def test_bumps_of_several_threads_differ(self, store: Store, keyspace: Keyspace) -> None:
        """Synchronous bumps in several threads each give a larger token than all that had ended when they began."""

        def bump(_: int) -> tuple[float, str, float]:
            began = time.monotonic()
            token = store.bump_sync(keyspace, {"1": ["label"]})["1"]["label"]
            return began, token, time.monotonic()

        with ThreadPoolExecutor(8) as threads:
            bumps = list(threads.map(bump, range(80)))
        tokens = [token for _, token, _ in bumps]
        assert len(set(tokens)) == len(tokens) or self.shares
        for began, token, _ in bumps if self.remembers else ():
            assert token > max((earlier for _, earlier, ended in bumps if ended < began), default="")
        assert ((await store.read(keyspace, "1", ["label"]))["label"] == max(tokens)) is self.remembers

    async def test_parallel_first_reads_agree(self, store: Store, keyspace: Keyspace) -> None:
        """Readers who find a token missing at the same time are all given the one that stays."""
        reads = await asyncio.gather(*(store.read(keyspace, "1", ["label"]) for _ in range(100)))
        assert len({tokens["label"] for tokens in reads}) == (1 if self.remembers else len(reads))

    async def test_reads_do_not_renew_the_expiry(self, store: Store, keyspace: Keyspace) -> None:
        """A token is forgotten when its expiry is over, however often it was read, and the next one is new."""
        brief = Keyspace(keyspace.namespace, expiry=_EXPIRY)
        first = await store.bump(brief, {"1": ["label"]})
        seen = {first["1"]["label"]}
        started = time.monotonic()
        while len(seen) == 1 and time.monotonic() < started + _EXPIRED_BY:
            await asyncio.sleep(_POLL)
            seen.add((await store.read(brief, "1", ["label"]))["label"])
        assert len(seen) == 2  # noqa: PLR2004 - the first token, and one that followed it
        assert (time.monotonic() - started > _EXPIRY / 2) is self.remembers
        assert max(seen) != first["1"]["label"]

    async def test_changes_are_told(self, store: Store, another: Store, keyspace: Keyspace) -> None:
        """Who listens to a tenant hears of what is bumped or minted, however, by whomever; or `listen` says no."""
        first, second = Ear(), Ear()
        async with store.running(keyspace), listening(store, keyspace, first, second) as is_told:
            if not is_told:
                return

            async def both_are_told(tokens: Tokens, what: str) -> None:
                for ear in (first, second):
                    await until(lambda: tokens.items() <= ear.tokens.items(), f"{what} is told")  # noqa: B023

            for each in (store, another):
                bumped = await each.bump(keyspace, {"1": ["inbox", "label"], "2": ["label"]})
                await both_are_told(bumped["1"], "a bump")
                bumped = each.bump_sync(keyspace, {"1": ["label"], "3": ["team"]})
                await both_are_told(bumped["1"], "a synchronous bump")
                bumped = await asyncio.to_thread(each.bump_sync, keyspace, {"1": ["label"]})
                await both_are_told(bumped["1"], "a bump in another thread")
            await both_are_told(await another.read(keyspace, "1", ["team"]), "what a read mints")

    async def test_others_changes_are_not_told(self, store: Store, another: Store, keyspace: Keyspace) -> None:
        """Who listens to a tenant hears nothing of another tenant's changes, nor of another namespace's."""
        other = Keyspace(f"{keyspace.namespace}-other", keyspace.expiry)
        ear = Ear()
        async with store.running(keyspace), store.running(other), listening(store, keyspace, ear) as is_told:
            if not is_told:
                return
            await another.bump(keyspace, {"2": ["inbox"], "1:inbox": ["inbox"], "11": ["inbox"]})
            await another.bump(other, {"1": ["inbox"]})
            tokens = (await another.bump(keyspace, {"1": ["label"]}))["1"]
            await until(lambda: ear.tokens, "a bump is told")
            assert ear.tokens == tokens

    async def test_who_has_left_is_told_nothing(self, store: Store, another: Store, keyspace: Keyspace) -> None:
        """Who has left hears no more, while others hear on; he may come back."""
        leaves, stays = Ear(), Ear()
        async with store.running(keyspace), listening(store, keyspace, stays) as is_told:
            if not is_told:
                return
            async with listening(store, keyspace, leaves):
                first = (await another.bump(keyspace, {"1": ["label"]}))["1"]
                await until(lambda: leaves.tokens == stays.tokens == first, "the bump is told to both")
            second = (await another.bump(keyspace, {"1": ["label"]}))["1"]
            await until(lambda: stays.tokens == second, "the bump is told to who has stayed")
            assert leaves.tokens == first
            store.leave(keyspace, "1", leaves)
            async with listening(store, keyspace, leaves):
                third = (await another.bump(keyspace, {"1": ["label"]}))["1"]
                await until(lambda: leaves.tokens == stays.tokens == third, "the bump is told to both")

    async def test_who_listens_twice_is_told_once(self, store: Store, another: Store, keyspace: Keyspace) -> None:
        """To listen again changes nothing, and what fails in one listener is kept from the store and the others."""

        class Failing(Ear):
            def heard(self, tokens: Tokens) -> None:
                super().heard(tokens)
                raise ZeroDivisionError

        failing, ear = Failing(), Ear()
        async with store.running(keyspace), listening(store, keyspace, failing, ear) as is_told:
            if not is_told:
                return
            assert store.listen(keyspace, "1", ear)
            assert ear.is_told
            for times in (1, 2):
                tokens = (await another.bump(keyspace, {"1": ["label"]}))["1"]
                await until(lambda: ear.tokens == failing.tokens == tokens, "the bump is told to both")  # noqa: B023
                assert ear.times == failing.times == times

    async def test_check_passes(self, store: Store) -> None:
        """A store that is there passes its check."""
        await store.check()

    async def test_closed_store_opens_again(self, store: Store, keyspace: Keyspace) -> None:
        """A store that was closed, even twice, may be used again."""
        await store.read(keyspace, "1", ["label"])
        store.bump_sync(keyspace, {"1": ["label"]})
        await store.aclose()
        await store.aclose()
        assert is_token((await store.read(keyspace, "1", ["label"]))["label"])
        store.bump_sync(keyspace, {"1": ["label"]})
