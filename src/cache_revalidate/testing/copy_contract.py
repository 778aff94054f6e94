"""The contract of `CopyStore` as a test suite."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cache_revalidate.stores import CopyStore, Keyspace
from cache_revalidate.testing.ear import Ear, listening, until
from cache_revalidate.token import new_token

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXPIRY = 0.5
_EXPIRED_BY = 5.0
_POLL = 0.02
_DAYS = 72 * 3600.0


@pytest.mark.asyncio
class CopyContract:
    """The tests that every store passes which can hold copies of tokens: subclass it beside `StoreContract`.

    ::

        class TestMyStore(StoreContract, CopyContract):
            @pytest_asyncio.fixture
            async def store(self): ...

    Each test has a keyspace of its own, so your store may stand on a server that other tests use. Three tests wait
    half a second, for a copy to expire.
    """

    @pytest.fixture
    def store(self) -> CopyStore:
        """Give the store to be tested, new or emptied; override it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `store`, which gives the store to be tested.")

    @pytest.fixture
    def keyspace(self) -> Keyspace:
        """Give a keyspace that no other test uses."""
        return Keyspace(f"contract-{uuid.uuid4()}", expiry=60.0)

    @pytest.fixture
    def another(self, store: CopyStore) -> CopyStore:
        """Give another store on the same data, as another process has it; override it, if there can be one."""
        return store

    async def test_peek_never_mints(self, store: CopyStore, keyspace: Keyspace) -> None:
        """What is not held stays missing, however often it is looked for."""
        for _ in range(2):
            assert await store.peek(keyspace, "1", ["inbox", "label"]) == {}
        (token,) = _tokens(1)
        await store.raise_tokens(keyspace, {"1": {"label": token}})
        for _ in range(2):
            assert await store.peek(keyspace, "1", ["inbox", "label"]) == {"label": token}
            assert await store.peek(keyspace, "2", ["inbox", "label"]) == {}

    async def test_a_copy_is_only_raised(self, store: CopyStore, keyspace: Keyspace) -> None:
        """A token is held if it is larger than the one held, and else the one held is what a raise returns."""
        low, middle, high = _tokens(3)
        for token, held in ((middle, middle), (low, middle), (high, high), (middle, high), (high, high)):
            assert await store.raise_tokens(keyspace, {"1": {"label": token}}) == {"1": {"label": held}}
            assert await store.peek(keyspace, "1", ["label"]) == {"label": held}

    async def test_sync_raise_is_a_raise(self, store: CopyStore, keyspace: Keyspace) -> None:
        """Without an event loop copies are raised in the same way, from any thread."""
        low, middle, high = _tokens(3)
        for token, held in ((middle, middle), (low, middle), (high, high)):
            raised = await asyncio.to_thread(store.raise_tokens_sync, keyspace, {"1": {"label": token}})
            assert raised == {"1": {"label": held}}
            assert await store.peek(keyspace, "1", ["label"]) == {"label": held}

    async def test_a_raise_decides_each_token_for_itself(self, store: CopyStore, keyspace: Keyspace) -> None:
        """Of several tenants and models some may be raised and others not; each is returned as it is held."""
        low, middle, high = _tokens(3)
        await store.raise_tokens(keyspace, {"1": {"inbox": middle, "label": middle}, "2": {"label": middle}})
        raised = await store.raise_tokens(
            keyspace, {"1": {"label": high, "inbox": low}, "2": {"label": low, "team": low}, "3": {"team": low}}
        )
        expected = {
            "1": {"inbox": middle, "label": high},
            "2": {"label": middle, "team": low},
            "3": {"team": low},
        }
        assert raised == expected
        for tenant, tokens in expected.items():
            assert await store.peek(keyspace, tenant, ["inbox", "label", "team"]) == tokens

    async def test_many_tenants_are_raised_at_once(self, store: CopyStore, keyspace: Keyspace) -> None:
        """One raise may be of five hundred tenants, as after a change of all of them; and of none."""
        tokens = {str(tenant): {"label": token} for tenant, token in enumerate(_tokens(500))}
        assert await store.raise_tokens(keyspace, tokens) == tokens
        assert store.raise_tokens_sync(keyspace, tokens) == tokens
        assert await store.peek(keyspace, "499", ["label"]) == tokens["499"]
        await store.drop(keyspace, {tenant: ["label"] for tenant in tokens})
        assert await store.peek(keyspace, "499", ["label"]) == {}
        assert await store.raise_tokens(keyspace, {}) == store.raise_tokens_sync(keyspace, {}) == {}

    async def test_parallel_raises_leave_the_largest(self, store: CopyStore, keyspace: Keyspace) -> None:
        """In whatever order tokens come, and from however many threads and tasks, the largest stays."""
        tokens = _tokens(60)
        shuffled = random.sample(tokens, len(tokens))
        with ThreadPoolExecutor(4) as threads:
            from_threads = [
                threads.submit(store.raise_tokens_sync, keyspace, {"1": {"label": token}}) for token in shuffled[30:]
            ]
            held = await asyncio.gather(
                *(store.raise_tokens(keyspace, {"1": {"label": token}}) for token in shuffled[:30])
            )
        for token, raised in zip(shuffled, [*held, *(raised.result() for raised in from_threads)], strict=True):
            assert raised["1"]["label"] >= token
        assert await store.peek(keyspace, "1", ["label"]) == {"label": tokens[-1]}

    async def test_a_copy_is_forgotten_in_time(self, store: CopyStore, keyspace: Keyspace) -> None:
        """A copy is forgotten in time, however often it is read, or raised to the same or less."""
        low, high = _tokens(2)
        brief = Keyspace(keyspace.namespace, _EXPIRY)
        await store.raise_tokens(brief, {"1": {"label": high}})
        started = time.monotonic()
        # Raised to what is smaller, so that what is held next is another.
        while (await store.raise_tokens(brief, {"1": {"label": low, "inbox": high}}))["1"]["label"] == high:
            assert time.monotonic() < started + _EXPIRED_BY, "The copy was not forgotten."
            await asyncio.sleep(_POLL)
            await store.peek(brief, "1", ["inbox", "label"])
            if time.monotonic() < started + _EXPIRY / 2:
                await store.raise_tokens(brief, {"1": {"label": high}})
        assert time.monotonic() - started > _EXPIRY / 2
        assert await store.peek(brief, "1", ["label"]) == {"label": low}

    async def test_a_larger_token_begins_a_life_of_its_own(self, store: CopyStore, keyspace: Keyspace) -> None:
        """Raised to more, a copy is new: it outlives what it was, and those of the tenant's other models."""
        low, high = _tokens(2)
        brief = Keyspace(keyspace.namespace, _EXPIRY)
        await store.raise_tokens(brief, {"1": {"inbox": low, "label": low}})
        started = time.monotonic()
        await asyncio.sleep(_EXPIRY / 2)
        await store.raise_tokens(brief, {"1": {"label": high}})
        while (held := await store.peek(brief, "1", ["inbox", "label"])).keys() == {"inbox", "label"}:
            assert time.monotonic() < started + _EXPIRED_BY, "The copy was not forgotten."
            await asyncio.sleep(_POLL)
        assert held == {"label": high} or time.monotonic() > started + _EXPIRY * 1.4

    async def test_what_lives_long_is_shortened(self, store: CopyStore, keyspace: Keyspace) -> None:
        """A token that was to live for days, of an app that held no copies yet, lives no longer than a copy."""
        of_days = Keyspace(keyspace.namespace, _DAYS)
        await store.bump(of_days, {"1": ["label"], "2": ["label"]})
        await store.raise_tokens(of_days, {"1": {"inbox": new_token()}, "2": {"inbox": new_token()}})
        brief = Keyspace(keyspace.namespace, _EXPIRY)
        started = time.monotonic()
        held = True
        while held:
            held = bool(await store.peek(brief, "1", ["inbox", "label"]))
            # The other tenant's is raised meanwhile, by tokens that are smaller than what it holds.
            raised = await store.raise_tokens(brief, {"2": {"label": "0" * 20}})
            held = held or raised["2"]["label"] != "0" * 20
            assert time.monotonic() < started + _EXPIRED_BY, "The token was not forgotten."
            await asyncio.sleep(_POLL)

    async def test_dropped_copies_are_missing(self, store: CopyStore, keyspace: Keyspace) -> None:
        """A dropped copy is held no more, those of other tenants are, and a smaller token may follow."""
        low, high = _tokens(2)
        drops = (store.drop, lambda *arguments: asyncio.to_thread(store.drop_sync, *arguments))
        for drop in drops:
            await store.raise_tokens(keyspace, {"1": {"label": high}, "2": {"inbox": high}, "3": {"label": high}})
            await drop(keyspace, {"1": ["label"], "2": {"inbox", "label"}, "4": ["label"]})
            assert await store.peek(keyspace, "1", ["label"]) == {}
            assert await store.peek(keyspace, "2", ["inbox"]) == {}
            assert await store.peek(keyspace, "3", ["label"]) == {"label": high}
            assert await store.raise_tokens(keyspace, {"1": {"label": low}}) == {"1": {"label": low}}
            await drop(keyspace, {})

    async def test_copies_of_namespaces_are_apart(self, store: CopyStore, keyspace: Keyspace) -> None:
        """The same tenant and model in two namespaces have copies of their own."""
        other = Keyspace(f"{keyspace.namespace}-other", keyspace.expiry)
        low, high = _tokens(2)
        await store.raise_tokens(keyspace, {"1": {"label": high}})
        assert await store.raise_tokens(other, {"1": {"label": low}}) == {"1": {"label": low}}
        await store.drop(keyspace, {"1": ["label"]})
        assert await store.peek(other, "1", ["label"]) == {"label": low}

    async def test_a_raised_token_is_read_and_bumped(self, store: CopyStore, keyspace: Keyspace) -> None:
        """To the store's own reads and bumps a copy is a token like another: a bump makes it larger."""
        ahead = f"{int(new_token()[:16]) + 60_000_000}{'0' * 4}"
        await store.raise_tokens(keyspace, {"1": {"label": ahead}})
        assert await store.read(keyspace, "1", ["label"]) == {"label": ahead}
        bumped = (await store.bump(keyspace, {"1": ["label"]}))["1"]
        assert bumped["label"] > ahead
        assert await store.peek(keyspace, "1", ["label"]) == bumped

    async def test_raises_and_drops_are_told(self, store: CopyStore, another: CopyStore, keyspace: Keyspace) -> None:
        """Who listens hears of each copy that is raised, and of each that is forgotten, as empty, by whomever."""
        low, *tokens = _tokens(5)
        ear = Ear()
        async with store.running(keyspace), listening(store, keyspace, ear) as is_told:
            if not is_told:
                return

            async def raise_to(each: CopyStore, token: str, *, is_sync: bool) -> None:
                new = {"1": {"label": token}, "2": {"inbox": token}}
                if is_sync:
                    await asyncio.to_thread(each.raise_tokens_sync, keyspace, new)
                else:
                    await each.raise_tokens(keyspace, new)

            for each, is_sync in ((store, False), (store, True), (another, False), (another, True)):
                token = tokens.pop(0)
                await raise_to(each, token, is_sync=is_sync)
                await until(lambda: ear.tokens == {"label": token}, "a raise is told")  # noqa: B023
            for each, is_sync in ((store, False), (store, True), (another, False), (another, True)):
                if is_sync:
                    await asyncio.to_thread(each.drop_sync, keyspace, {"1": ["label"], "2": ["inbox"]})
                else:
                    await each.drop(keyspace, {"1": ["label"], "2": ["inbox"]})
                await until(lambda: ear.tokens == {"label": ""}, "a drop is told")
                await raise_to(each, low, is_sync=is_sync)
                await until(lambda: ear.tokens == {"label": low}, "a raise after a drop is told")


def _tokens(count: int) -> Sequence[str]:
    """Return tokens, each larger than the one before."""
    tokens = [new_token()]
    while len(tokens) < count:
        tokens.append(new_token(tokens[-1]))
    return tokens
