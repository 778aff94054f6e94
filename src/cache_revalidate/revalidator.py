"""The one object that an app holds: which models there are, where their tokens are kept, and how they change."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cache_revalidate.bound import bindings_of
from cache_revalidate.exceptions import (
    ConfigurationError,
    InvalidTenantError,
    StoreError,
    UnknownModelError,
)
from cache_revalidate.fingerprint import fingerprint
from cache_revalidate.minted import record_minted
from cache_revalidate.stores import FoldingStore, Keyspace, MemoryStore, MirrorStats, Store
from cache_revalidate.tenants import EVERY_TENANT, canonical_tenant, checked_tenant
from cache_revalidate.token import is_token
from cache_revalidate.types import EVERYONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from cache_revalidate.types import Changes, SnapshotTokens, Tokens, Viewer

DEFAULT_NAMESPACE: Final = "cache_revalidate"
DEFAULT_EXPIRY: Final = 72 * 3600.0
_LONGEST_EXPIRY: Final = 3653 * 24 * 3600.0

# Owed tenants that are paid beside the caller's own: a store that was away long must not be held up by one call.
_PAID_AT_ONCE: Final = 256

# Tenants, their models, and for each the number of the failure since which it is owed.
_Debt: TypeAlias = dict[str, dict[str, int]]

Companion: TypeAlias = "Callable[[], AbstractAsyncContextManager[None]]"
"""Makes what runs as long as the app does."""

_is_model = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII).fullmatch
_is_namespace = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII).fullmatch
_logger = logging.getLogger("cache_revalidate")


@dataclass(slots=True)
class Stats:
    """What a revalidator has counted since it was made; read them, or export them to your metrics."""

    reads: int = 0
    """Reads of a tenant's tokens that the store answered."""
    failed_reads: int = 0
    """Reads that it did not; the requests behind them went on to the app, uncached."""
    bumps: int = 0
    """Bumps that the store took, each of one or several models and tenants."""
    failed_bumps: int = 0
    """Bumps that it did not take, or not to the end; they are owed until it does."""
    mirror: MirrorStats | None = None
    """What the store has counted of reads that it answered from this process's memory; None if it has no mirror."""


class Revalidator:
    """Holds the models, the store, the namespace and the expiry; reads and bumps version tokens.

    `models` are the cached models' names, in snake_case; `store` holds their tokens (default: a new
    `MemoryStore`); `namespace` keeps two apps in one store apart; `expiry` is in seconds (default: 72 hours).

    `canonical` makes the canonical tenant of whatever a commit or a URL gives (default: `canonical_tenant`).
    `salt` changes when your answers change shape (a build number, say), `epoch` when the tokens start anew (after
    a restored backup, say): a client that sees either change takes everything it holds for stale.

    Raises `ConfigurationError` when it is made, if any of these could not work.
    """

    def __init__(
        self,
        models: Iterable[str],
        store: Store | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        expiry: float = DEFAULT_EXPIRY,
        canonical: Callable[[object], str] = canonical_tenant,
        salt: str = "",
        epoch: str = "",
    ) -> None:
        if not callable(canonical):
            raise ConfigurationError(
                f"canonical is a {type(canonical).__name__}: pass a function that makes a string, str.lower say."
            )
        for name, text in (("salt", salt), ("epoch", epoch)):
            if not isinstance(text, str):
                raise ConfigurationError(f"{name} is a {type(text).__name__}: pass a string, {name}={str(text)!r}.")
        self.models: Final = _checked_models(models)
        self.store: Final = _checked_store(store)
        self.keyspace: Final = _checked_keyspace(namespace, expiry)
        self.stats: Final = Stats(mirror=self.store.mirror_stats)
        self.sync: Final = SyncDoor(self)
        self._canonical = canonical
        self.has_default_canonical: Final = canonical is canonical_tenant
        """Whether tenants are made canonical by `canonical_tenant`, which keeps every string as it is."""
        self._salt = salt
        self._epoch = epoch
        self._owed = _Owed()
        self._companions: list[Companion] = []

    def tenant(self, value: object) -> str:
        """Return the canonical form of a tenant; raise `InvalidTenantError` if there is none."""
        try:
            if self.has_default_canonical:
                return canonical_tenant(value)
            tenant = checked_tenant(self._canonical(value))
            again = self._canonical(tenant)
        except InvalidTenantError:
            raise
        except Exception as error:
            raise InvalidTenantError(
                f"The revalidator's canonical function made no tenant of {value!r:.60}: {error!r}"
            ) from error
        if again != tenant:
            raise InvalidTenantError(
                f"The revalidator's canonical function makes {again!r:.60} of {tenant!r}, which it has made canonical "
                "itself: it must leave its own results as they are."
            )
        return tenant

    def known_models(self, models: Iterable[str]) -> tuple[str, ...]:
        """Return `models`, sorted, each once; raise `UnknownModelError` if one of them is not the revalidator's."""
        if isinstance(models, str):
            models = (models,)
        try:
            wanted = set(models)
        except TypeError as error:
            raise UnknownModelError(
                f"The models are {models!r:.80}, not names: write bump(tenant, 'label', 'inbox'), each for itself."
            ) from error
        if unknown := wanted.difference(self.models):
            raise UnknownModelError(
                f"Unknown model {', '.join(sorted(map(repr, unknown)))}: this revalidator has "
                f"{', '.join(self.models)}. Add it to Revalidator(models=[...]), or mend the name."
            )
        return tuple(sorted(wanted))

    def tag(self, viewer: Viewer) -> str:
        """Return the opaque hash of viewer, build salt and epoch; a client's validator is (tag, token)."""
        return _tag("" if viewer is EVERYONE else f"={viewer}", self._salt, self._epoch)

    async def tokens(self, tenant: object, *models: str, shown: Tokens | None = None) -> Tokens:
        """Return the tokens of a tenant's `models` (default: of all). Raises `StoreError` if the store is away.

        `shown` are tokens that the caller has seen somewhere, by model: where one of them is larger, the store reads
        past what this process or a copy holds. What it finds is the answer, be it larger or not.
        """
        owner, wanted = self.tenant(tenant), self.known_models(models) or self.models
        held = self.held(owner, wanted, shown)
        return await self.read(owner, wanted, shown) if held is None else held

    def held(self, tenant: str, models: tuple[str, ...], shown: Tokens | None = None) -> Tokens | None:
        """Return what `read` would answer, if that is at hand in this process; None if it has to be awaited.

        `tenant` and `models` are as `tenant()` and `known_models()` have returned them: they are not checked again.
        """
        if self._owed._tenants:
            return None
        tokens = self.store.held(self.keyspace, tenant, models)
        if tokens is None or (shown and _is_newer(shown, tokens)):
            return None
        self.stats.reads += 1
        return tokens

    async def read(self, tenant: str, models: tuple[str, ...], shown: Tokens | None = None) -> Tokens:
        """Do as `tokens` does, for a tenant and models that `tenant()` and `known_models()` have returned."""
        try:
            if self._owed:
                # A store that is away says so at once to a read, while a bump may wait for its time-out.
                await self.store.read(self.keyspace, tenant, models)
                await self._pay_owed(tenant)
            if shown:
                tokens = await self.store.read_past(self.keyspace, tenant, models, shown)
            else:
                tokens = await self.store.read(self.keyspace, tenant, models)
        except StoreError:
            self.stats.failed_reads += 1
            raise
        self.stats.reads += 1
        return tokens

    async def bump(self, tenant: object, *models: str) -> Tokens:
        """Bump `models` of one tenant; return their new tokens. Raises `StoreError` if the store is away."""
        owner, changes = self._changes_of(tenant, models)
        return (await self._bump(changes))[owner]

    async def bump_many(self, changes: Mapping[Any, Collection[str]]) -> dict[str, Tokens]:
        """Bump several tenants in one call of the store; return the new tokens by canonical tenant."""
        return await self._bump(self._checked_bump(changes))

    async def reset(self, tenant: object) -> Tokens:
        """Bump all models of a tenant: every client of it refetches everything."""
        return await self.bump(tenant, *self.models)

    async def fold_many(self, changes: Mapping[Any, Collection[str]], *, in_doubt: bool = False) -> dict[str, Tokens]:
        """Make new tokens of what committed transactions have noted in their database; return them by tenant.

        For stores whose truth is there, and the adapters that note it: whoever calls `bump` need not know of this.
        `EVERY_TENANT` may stand for all tenants of the models named with it. `in_doubt` says that the transaction may
        be committed a little later, or never. Raises `StoreError` if the database is away; what was noted stays noted,
        and this process folds it before it reads those tokens again.
        """
        return await self._fold(self._checked_fold(changes), in_doubt=in_doubt)

    def bind(self, tenant: object, tokens: SnapshotTokens) -> Callable[[], None]:
        """Say that the handler at hand reads a tenant's rows from a snapshot, which shows these tokens by model.

        For adapters, whose handlers read from a replica. The answer is marked with these tokens instead of the
        primary's; with none, and `no-store`, if one of its models has None here, is bound to two different tokens, or
        is not bound at all. The tokens are to be read in the rows' own snapshot, or before the rows.

        Returns a function that voids this: to be called when the answer may get rows from elsewhere. Both do nothing
        outside of a request, and raise `SnapshotError` while an answer is being sent that was marked already.
        """
        owner, bindings = self.tenant(tenant), bindings_of(self)
        models = self.known_models(tokens)
        if wrong := [token for token in tokens.values() if token is not None and not is_token(token)]:
            raise ConfigurationError(f"{wrong[0]!r:.60} is no version token: pass None where a snapshot shows none.")
        if bindings is None:
            return _nothing
        bindings.add(owner, {**tokens})
        return partial(bindings.add, owner, dict.fromkeys(models))

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002
        """Run around the app: say at the start if the store can't be reached, close it at the end.

        An app whose store is away starts all the same, and its requests go uncached until the store is back.
        """
        try:
            await self.store.check()
        except StoreError as error:
            _logger.error("The app starts without its store of version tokens, uncached: %s", error)  # noqa: TRY400
        async with AsyncExitStack() as running:
            await running.enter_async_context(self.store.running(self.keyspace))
            for companion in self._companions:
                await running.enter_async_context(companion())
            yield

    def accompany(self, companion: Companion) -> None:
        """Have something else run as long as the app does, too: entered in `lifespan`, and left before the store is."""
        self._companions.append(companion)

    async def _bump(self, changes: Changes) -> dict[str, Tokens]:
        if not changes:
            return {}
        with self._accounted(changes, changes) as due:
            minted = await self.store.bump(self.keyspace, due)
        record_minted(self, minted)
        return _named(minted, changes)

    def _bump_sync(self, changes: Changes) -> dict[str, Tokens]:
        if not changes:
            return {}
        with self._accounted(changes, changes) as due:
            minted = self.store.bump_sync(self.keyspace, due)
        record_minted(self, minted)
        return _named(minted, changes)

    async def _fold(self, changes: Changes, *, in_doubt: bool) -> dict[str, Tokens]:
        if not changes:
            return {}
        with self._counted_fold() as store:
            tokens = await store.fold(self.keyspace, changes, in_doubt=in_doubt)
        record_minted(self, tokens)
        return tokens

    def _fold_sync(self, changes: Changes, *, in_doubt: bool) -> dict[str, Tokens]:
        if not changes:
            return {}
        with self._counted_fold() as store:
            tokens = store.fold_sync(self.keyspace, changes, in_doubt=in_doubt)
        record_minted(self, tokens)
        return tokens

    @contextmanager
    def _counted_fold(self) -> Iterator[FoldingStore]:
        if not isinstance(self.store, FoldingStore):
            raise ConfigurationError(
                f"A {type(self.store).__name__} has nothing to fold: bump_many() makes its tokens new."
            )
        try:
            yield self.store
        except BaseException:
            self.stats.failed_bumps += 1
            raise
        self.stats.bumps += 1

    async def _pay_owed(self, tenant: str) -> None:
        with self._accounted({}, [tenant]) as due:
            await self.store.bump(self.keyspace, due)

    @contextmanager
    def _accounted(self, changes: Changes, first: Iterable[str]) -> Iterator[Changes]:
        """Give what is to be bumped: `changes` and some of what is owed, what the tenants `first` owe before all.

        If the bump fails or is cancelled, `changes` are owed too.
        """
        owed = self._owed.part(first)
        due = _with_owed(changes, owed) if owed else changes
        try:
            yield due
        except BaseException:
            self._owed.add(changes)
            self.stats.failed_bumps += 1
            raise
        self._owed.settle(owed)
        self.stats.bumps += 1

    def _changes_of(self, tenant: object, models: Collection[str]) -> tuple[str, Changes]:
        if not models:
            raise UnknownModelError("Name the models to bump, or call reset(tenant) to bump all of them.")
        owner = self.tenant(tenant)
        return owner, {owner: self.known_models(models)}

    def _checked_bump(self, changes: Mapping[Any, Collection[str]]) -> Changes:
        # A store that knows all tenants may be told to bump them all.
        return self._checked_fold(changes) if isinstance(self.store, FoldingStore) else self._checked(changes)

    def _checked_fold(self, changes: Mapping[Any, Collection[str]]) -> Changes:
        every = changes.get(EVERY_TENANT, ())
        checked = self._checked({tenant: models for tenant, models in changes.items() if tenant != EVERY_TENANT})
        return {**checked, EVERY_TENANT: self.known_models(every)} if every else checked

    def _checked(self, changes: Mapping[Any, Collection[str]]) -> Changes:
        checked: dict[str, set[str]] = {}
        for tenant, models in changes.items():
            if known := self.known_models(models):
                checked.setdefault(self.tenant(tenant), set()).update(known)
        return checked


class SyncDoor:
    """The revalidator's bumps for code without an event loop: synchronous sessions, scripts, threads."""

    def __init__(self, revalidator: Revalidator) -> None:
        self._revalidator = revalidator

    def bump(self, tenant: object, *models: str) -> Tokens:
        """Bump `models` of one tenant; return their new tokens. Raises `StoreError` if the store is away."""
        owner, changes = self._revalidator._changes_of(tenant, models)
        return self._revalidator._bump_sync(changes)[owner]

    def bump_many(self, changes: Mapping[Any, Collection[str]]) -> dict[str, Tokens]:
        """Bump several tenants in one call of the store; return the new tokens by canonical tenant."""
        return self._revalidator._bump_sync(self._revalidator._checked_bump(changes))

    def reset(self, tenant: object) -> Tokens:
        """Bump all models of a tenant: every client of it refetches everything."""
        return self.bump(tenant, *self._revalidator.models)

    def fold_many(self, changes: Mapping[Any, Collection[str]], *, in_doubt: bool = False) -> dict[str, Tokens]:
        """Make new tokens of what committed transactions have noted in their database; return them by tenant."""
        return self._revalidator._fold_sync(self._revalidator._checked_fold(changes), in_doubt=in_doubt)


class _Owed:
    """Bumps that the store did not take, kept until it does; used from any thread.

    What is owed stays owed while somebody pays it, so nobody reads a token that is about to be bumped. Two who pay
    at once bump twice, which is safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._tenants: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def add(self, changes: Changes) -> None:
        """Owe `changes`, each of them marked with the number of this failure."""
        with self._lock:
            self._failures += 1
            for tenant, models in changes.items():
                self._tenants.setdefault(tenant, {}).update(dict.fromkeys(models, self._failures))

    def part(self, first: Iterable[str]) -> _Debt:
        """Return what the tenants `first` owe, and as much of the others' as one call of a store bears."""
        with self._lock:
            tenants = (*(tenant for tenant in first if tenant in self._tenants), *islice(self._tenants, _PAID_AT_ONCE))
            return {tenant: dict(self._tenants[tenant]) for tenant in tenants}

    def settle(self, paid: _Debt) -> None:
        """Forget what was paid, but for what failed anew meanwhile."""
        with self._lock:
            for tenant, models in paid.items():
                owed = self._tenants.get(tenant, {})
                for model, failure in models.items():
                    if owed.get(model) == failure:
                        del owed[model]
                if not owed:
                    self._tenants.pop(tenant, None)


def _with_owed(changes: Changes, owed: _Debt) -> Changes:
    due = {tenant: set(models) for tenant, models in changes.items()}
    for tenant, models in owed.items():
        due.setdefault(tenant, set()).update(models)
    return due


def _named(minted: Mapping[str, Tokens], changes: Changes) -> dict[str, Tokens]:
    """Return of all that was minted what the caller has named; the rest was owed."""
    return {
        tenant: {model: minted[tenant][model] for model in models}
        for tenant, models in changes.items()
        if tenant != EVERY_TENANT
    }


def _is_newer(shown: Tokens, tokens: Tokens) -> bool:
    """Say whether one of the tokens `shown` is larger than the model's among `tokens`."""
    return any(token > tokens.get(model, token) for model, token in shown.items())


def _nothing() -> None:
    """Do nothing."""


@lru_cache(maxsize=4096)
def _tag(viewer: str, salt: str, epoch: str) -> str:
    return fingerprint(viewer, salt, epoch, size=12)


def checked_revalidator(revalidator: object) -> Revalidator:
    """Return `revalidator` if it is a `Revalidator`, else raise `ConfigurationError`."""
    if not isinstance(revalidator, Revalidator):
        raise ConfigurationError(
            f"revalidator is a {type(revalidator).__name__}: pass the Revalidator that your app holds."
        )
    return revalidator


def _checked_models(models: Iterable[str]) -> tuple[str, ...]:
    if isinstance(models, str):
        raise ConfigurationError(f"models is a list of names: write models=[{models!r}].")
    if not isinstance(models, Iterable):
        raise ConfigurationError(f'models is {models!r:.60}, not a list of names: write models=["label"], say.')
    names = tuple(models)
    if not names:
        raise ConfigurationError('models is empty: name at least one cached model, as in models=["label"].')
    for name in names:
        if not isinstance(name, str) or _is_model(name) is None:
            raise ConfigurationError(
                f"{name!r} can't be a model's name: write it in snake_case, as in 'inbox_member' "
                "(a to z, digits and _, beginning with a letter, at most 64 characters)."
            )
        if names.count(name) > 1:
            raise ConfigurationError(f"The model {name!r} is declared twice: name each model once.")
    return tuple(sorted(names))


def _checked_store(store: Store | None) -> Store:
    if store is None:
        return MemoryStore()
    if not isinstance(store, Store):
        raise ConfigurationError(
            f"store is a {type(store).__name__}, not a Store: pass MemoryStore(), RedisStore.from_url(...), "
            "or a subclass of cache_revalidate.Store."
        )
    return store


def _checked_keyspace(namespace: str, expiry: float) -> Keyspace:
    if not isinstance(namespace, str) or _is_namespace(namespace) is None:
        raise ConfigurationError(
            f"namespace {namespace!r} needs 1 to 64 characters, each an ASCII letter, a digit or one of . _ : -"
        )
    if isinstance(expiry, bool) or not isinstance(expiry, int | float) or not 1 <= expiry <= _LONGEST_EXPIRY:
        raise ConfigurationError(
            f"expiry {expiry!r} is not a number of seconds, from 1 to ten years: 72 hours are expiry=72 * 3600."
        )
    return Keyspace(namespace, float(expiry))
