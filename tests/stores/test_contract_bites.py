"""Stores that break the contract, and the tests of the contract that find them out."""

import asyncio
import inspect
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from cache_revalidate import Keyspace, Listener, MemoryStore, Store
from cache_revalidate.stores.memory import _Held
from cache_revalidate.testing import CopyContract, StoreContract, contract, copy_contract, ear
from cache_revalidate.types import Changes, Tokens

CONSTANT = "0" * 20


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the contracts wait no longer than need be for what never expires."""
    monkeypatch.setattr(contract, "_EXPIRY", 0.5)
    monkeypatch.setattr(contract, "_EXPIRED_BY", 0.8)
    monkeypatch.setattr(copy_contract, "_EXPIRED_BY", 1.0)
    monkeypatch.setattr(ear, "_TOLD_BY", 0.1)


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


class PeekMints(MemoryStore):
    """Mints what is missing when it is peeked at."""

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Read."""
        return await self.read(keyspace, tenant, models)


class RaiseOverwrites(MemoryStore):
    """Holds whatever came last."""

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Drop what is held, and then raise."""
        self.drop_sync(keyspace, tokens)
        return super().raise_tokens_sync(keyspace, tokens)


class RaiseReturnsWhatItWasGiven(MemoryStore):
    """Does not say that something larger is held."""

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Raise, and answer with the tokens given."""
        super().raise_tokens_sync(keyspace, tokens)
        return {tenant: dict(of_tenant) for tenant, of_tenant in tokens.items()}


class RaisesRenewTheExpiry(MemoryStore):
    """Gives a copy a whole life anew whenever it is raised."""

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Raise, and renew."""
        raised = super().raise_tokens_sync(keyspace, tokens)
        for tenant, of_tenant in raised.items():
            for model, token in of_tenant.items():
                self._minted[keyspace.namespace][tenant, model] = (token, self._monotonic())
        return raised


class PeeksRenewTheExpiry(MemoryStore):
    """Gives a copy a whole life anew whenever it is peeked at."""

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Peek, and renew."""
        held = await super().peek(keyspace, tenant, models)
        for model, token in held.items():
            self._minted[keyspace.namespace][tenant, model] = (token, self._monotonic())
        return held


class KeepsLongLives(MemoryStore):
    """Lets what was made to live for days live for days."""

    def _unexpired(self, keyspace: Keyspace) -> _Held:
        longest = max(keyspace.expiry, getattr(self, "longest", 0.0))
        self.longest = longest
        return super()._unexpired(Keyspace(keyspace.namespace, longest))


class DropForgetsNothing(MemoryStore):
    """Leaves everything as it is."""

    def drop_sync(self, keyspace: Keyspace, changes: Changes) -> None:
        """Do nothing."""


class DropForgetsAll(MemoryStore):
    """Forgets the other tenants' too."""

    def drop_sync(self, keyspace: Keyspace, changes: Changes) -> None:
        """Forget the namespace."""
        self._minted.pop(keyspace.namespace, None)


class RaisesTheFirstTenant(MemoryStore):
    """Raises the first of several tenants alone."""

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Raise one."""
        super().raise_tokens_sync(keyspace, dict(list(tokens.items())[:1]))
        return {tenant: dict(of_tenant) for tenant, of_tenant in tokens.items()}


class SyncRaiseIsLost(MemoryStore):
    """Raises without an event loop somewhere else."""

    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Raise as it should."""
        return super().raise_tokens_sync(keyspace, tokens)

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Raise in another namespace."""
        return super().raise_tokens_sync(Keyspace("lost", keyspace.expiry), tokens)


class TellsNothing(MemoryStore):
    """Confirms that it tells, and does not."""

    def _tell(self, keyspace: Keyspace, changed: Mapping[str, Tokens]) -> None:
        pass


class TellsOfOthers(MemoryStore):
    """Tells all of everything in the namespace."""

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Listen to all tenants."""
        return super().listen(keyspace, "*", listener)

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Leave all."""
        super().leave(keyspace, "*", listener)

    def _tell(self, keyspace: Keyspace, changed: Mapping[str, Tokens]) -> None:
        for tokens in changed.values():
            super()._tell(keyspace, {"*": tokens})


class TellsOn(MemoryStore):
    """Tells also those who have left."""

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Do nothing."""


class TellsTheLast(MemoryStore):
    """Tells only who came last."""

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Put the others out."""
        self._audiences.clear()
        return super().listen(keyspace, tenant, listener)


class TellsTwice(MemoryStore):
    """Tells who listens twice of each change twice."""

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Take in whoever comes."""
        super().listen(keyspace, tenant, listener)
        audience = self._audiences[keyspace.namespace, tenant]
        audience.add(listener)
        return True


class FailsWithItsListeners(MemoryStore):
    """Lets a bump fail when a listener does."""

    def _tell(self, keyspace: Keyspace, changed: Mapping[str, Tokens]) -> None:
        for tenant, tokens in changed.items():
            audience = self._audiences.get((keyspace.namespace, tenant))
            for listener in () if audience is None else audience._listeners:
                listener.heard(tokens)


class TellsOfBumpsAlone(MemoryStore):
    """Does not tell of what reads mint, of raises or drops."""

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Bump, and tell."""
        bumped = super().bump_sync(keyspace, changes)
        super()._tell(keyspace, bumped)
        return bumped

    def _tell(self, keyspace: Keyspace, changed: Mapping[str, Tokens]) -> None:
        pass


async def failing_tests(store: type[Store], suite: StoreContract | CopyContract) -> set[str]:
    """Run the contract, each test on a store of its own, all at once; return the names of those that failed."""

    async def fails(test: Callable[..., Awaitable[None]]) -> bool:
        one = store()
        needed = {"store": one, "another": one, "keyspace": Keyspace(uuid.uuid4().hex, 60.0)}
        try:
            await test(**{argument: needed[argument] for argument in inspect.signature(test).parameters})
        except (AssertionError, KeyError, ZeroDivisionError):
            return True
        return False

    tests = dict(inspect.getmembers(suite, inspect.iscoroutinefunction))
    failed = await asyncio.gather(*map(fails, tests.values()))
    return {name.removeprefix("test_") for name, has_failed in zip(tests, failed, strict=True) if has_failed}


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
        (TellsNothing, {"changes_are_told", "who_has_left_is_told_nothing", "who_listens_twice_is_told_once"}),
        (TellsOfOthers, {"others_changes_are_not_told"}),
        (TellsOn, {"who_has_left_is_told_nothing"}),
        (TellsTheLast, {"changes_are_told"}),
        (TellsTwice, {"who_listens_twice_is_told_once"}),
        (FailsWithItsListeners, {"who_listens_twice_is_told_once"}),
        (TellsOfBumpsAlone, {"changes_are_told"}),
    ],
)
async def test_contract_finds_the_fault(store: type[Store], tests: set[str]) -> None:
    """A store with a fault fails the tests of the contract that are about it."""
    assert tests <= await failing_tests(store, StoreContract())


@pytest.mark.parametrize(
    ("store", "tests"),
    [
        (PeekMints, {"peek_never_mints", "dropped_copies_are_missing"}),
        (RaiseOverwrites, {"a_copy_is_only_raised", "parallel_raises_leave_the_largest"}),
        (RaiseReturnsWhatItWasGiven, {"a_copy_is_only_raised", "a_raise_decides_each_token_for_itself"}),
        (RaisesRenewTheExpiry, {"a_copy_is_forgotten_in_time"}),
        (PeeksRenewTheExpiry, {"a_copy_is_forgotten_in_time"}),
        (KeepsLongLives, {"what_lives_long_is_shortened"}),
        (DropForgetsNothing, {"dropped_copies_are_missing"}),
        (DropForgetsAll, {"dropped_copies_are_missing"}),
        (RaisesTheFirstTenant, {"a_raise_decides_each_token_for_itself", "many_tenants_are_raised_at_once"}),
        (IgnoresTheNamespace, {"a_raised_token_is_read_and_bumped"}),
        (SyncRaiseIsLost, {"sync_raise_is_a_raise"}),
        (TellsOfBumpsAlone, {"raises_and_drops_are_told"}),
    ],
)
async def test_contract_of_copies_finds_the_fault(store: type[Store], tests: set[str]) -> None:
    """A store with a fault in its copies fails the tests that are about it."""
    assert tests <= await failing_tests(store, CopyContract())


@pytest.mark.parametrize("suite", [StoreContract(), CopyContract()])
async def test_contract_passes_a_good_store(suite: StoreContract | CopyContract) -> None:
    """A store without a fault fails none."""
    assert await failing_tests(MemoryStore, suite) == set()


def test_contract_without_a_store_says_what_to_do() -> None:
    """A subclass that gives no store is told to."""
    with pytest.raises(NotImplementedError, match="StoreContract needs a fixture `store`"):
        StoreContract.store.__wrapped__(StoreContract())  # type: ignore[attr-defined]
    with pytest.raises(NotImplementedError, match="CopyContract needs a fixture `store`"):
        CopyContract.store.__wrapped__(CopyContract())  # type: ignore[attr-defined]
