"""Stores that break the contract, and the tests of the contract that find them out."""

import inspect
import uuid
from collections.abc import Sequence

import pytest

from cache_revalidate import Keyspace, MemoryStore, Store
from cache_revalidate.testing import StoreContract
from cache_revalidate.types import Changes, Tokens

CONSTANT = "0" * 20


class ConstantDefault(MemoryStore):
    """Answers one and the same token where none is held, as Chatwoot does."""

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Read what was bumped, else the constant."""
        held = self._unexpired(keyspace)
        return {model: held.get((tenant, model), (CONSTANT, 0.0))[0] for model in models}


class Seconds(MemoryStore):
    """Bumps to the second, as Chatwoot does."""

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump, and cut off what is finer than a second."""
        bumped = super().bump_sync(keyspace, changes)
        for tenant, tokens in bumped.items():
            for model, token in tokens.items():
                tokens[model] = token[:10] + "0" * 10
                held = self._minted[keyspace.namespace]
                held[tenant, model] = (tokens[model], held[tenant, model][1])
        return bumped


class BumpsTheWholeTenant(MemoryStore):
    """Bumps a tenant's other models with the one named."""

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump everything of the tenants named."""
        held = self._unexpired(keyspace)
        whole = {tenant: {*models, *(m for t, m in held if t == tenant)} for tenant, models in changes.items()}
        bumped = super().bump_sync(keyspace, whole)
        return {tenant: {model: bumped[tenant][model] for model in changes[tenant]} for tenant in changes}


class IgnoresTheNamespace(MemoryStore):
    """Holds the tokens of all namespaces in one place."""

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Read from the one place."""
        return await super().read(Keyspace("all", keyspace.expiry), tenant, models)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump there."""
        return super().bump_sync(Keyspace("all", keyspace.expiry), changes)


class ReadsRenewTheExpiry(MemoryStore):
    """Gives a token a whole life anew whenever it is read."""

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Read, and renew."""
        tokens = await super().read(keyspace, tenant, models)
        for model, token in tokens.items():
            self._minted[keyspace.namespace][tenant, model] = (token, self._monotonic())
        return tokens


class SyncBumpIsLost(MemoryStore):
    """Returns new tokens from a synchronous bump and does not keep them."""

    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump as it should."""
        return super().bump_sync(keyspace, changes)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump somewhere else."""
        return super().bump_sync(Keyspace("lost", keyspace.expiry), changes)


class ForgetsOtherTenants(MemoryStore):
    """Bumps the first of several tenants alone."""

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump one tenant."""
        first = next(iter(changes))
        return super().bump_sync(keyspace, {first: changes[first]})


async def failing_tests(store: Store) -> set[str]:
    """Run the contract; return the names of its tests that failed."""
    contract, failed = StoreContract(), set()
    for name, test in inspect.getmembers(contract, inspect.iscoroutinefunction):
        needed = {"store": store, "keyspace": Keyspace(uuid.uuid4().hex, 60.0)}
        try:
            await test(**{argument: needed[argument] for argument in inspect.signature(test).parameters})
        except (AssertionError, KeyError):
            failed.add(name.removeprefix("test_"))
    return failed


@pytest.mark.parametrize(
    ("store", "tests"),
    [
        (ConstantDefault, {"minted_tokens_are_unique", "namespaces_are_apart"}),
        (Seconds, {"bumps_in_one_millisecond_differ", "parallel_bumps_differ", "bumps_of_several_threads_differ"}),
        (BumpsTheWholeTenant, {"bump_grows_the_named_tokens_alone"}),
        (IgnoresTheNamespace, {"namespaces_are_apart"}),
        (ReadsRenewTheExpiry, {"reads_do_not_renew_the_expiry"}),
        (SyncBumpIsLost, {"sync_bump_is_a_bump", "sync_bump_works_in_another_thread"}),
        (ForgetsOtherTenants, {"bump_answers_the_next_read", "sync_bump_is_a_bump"}),
    ],
)
async def test_contract_finds_the_fault(store: type[Store], tests: set[str]) -> None:
    """A store with a fault fails the tests of the contract that are about it."""
    assert tests <= await failing_tests(store())


async def test_contract_passes_a_good_store() -> None:
    """A store without a fault fails none."""
    assert await failing_tests(MemoryStore()) == set()


def test_contract_without_a_store_says_what_to_do() -> None:
    """A subclass that gives no store is told to."""
    with pytest.raises(NotImplementedError, match="StoreContract needs a fixture `store`"):
        StoreContract.store.__wrapped__(StoreContract())  # type: ignore[attr-defined]
