"""Tokens in this process's memory: for development, and for apps that run as one process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from cache_revalidate.stores.base import CopyStore, Keyspace
from cache_revalidate.stores.listening import Audience, told
from cache_revalidate.token import new_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache_revalidate.stores.listening import Listener
    from cache_revalidate.types import Changes, Tokens

_Held: TypeAlias = "OrderedDict[tuple[str, str], tuple[str, float]]"

_NONE: Final[_Held] = OrderedDict()
_MISSING: Final = ("", float("-inf"))


class _Memory:
    believed_until: Final = float("inf")


_LINE: Final = _Memory()
"""By which listeners are told: at once, so that silence always means that nothing has happened."""

# Where everyone may ask for every tenant, nothing else bounds what one caller can have minted.
_MOST_TOKENS: Final = 250_000


class MemoryStore(CopyStore):
    """Tokens of one process, safe to use from its threads; they are gone when it ends.

    At most 250,000 are held, about 100 MB; the oldest are forgotten first, as if they had expired. Two worker
    processes with a `MemoryStore` each would not hear of each other's bumps: give them a `RedisStore`.

    `monotonic` is the clock that expiry is measured with, in seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # A listener, who is told under it, may have a look at the store.
        self._lock = threading.RLock()
        # Each namespace's tokens and when they were minted, oldest first.
        self._minted: dict[str, _Held] = {}
        # Who listens to a namespace's tenant.
        self._audiences: dict[tuple[str, str], Audience] = {}

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the tokens held; mint what is missing."""
        with self._lock:
            held = self._unexpired(keyspace)
            tokens: Tokens = {}
            minted: Tokens = {}
            for model in models:
                if entry := held.get((tenant, model)):
                    tokens[model] = entry[0]
                else:
                    tokens[model] = minted[model] = self._mint(keyspace, tenant, model)
            self._tell(keyspace, {tenant: minted})
            return tokens

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the tokens held, if all of them are; mint nothing."""
        # What has expired is not dropped here, only passed over: this runs at every request.
        expired = self._monotonic() - keyspace.expiry
        tokens: Tokens = {}
        with self._lock:
            held = self._minted.get(keyspace.namespace, _NONE)
            for model in models:
                token, minted = held.get((tenant, model), _MISSING)
                if minted <= expired:
                    return None
                tokens[model] = token
        return tokens

    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Mint a larger token for each change."""
        return self.bump_sync(keyspace, changes)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Mint a larger token for each change."""
        with self._lock:
            self._unexpired(keyspace)
            bumped = {
                tenant: {model: self._mint(keyspace, tenant, model) for model in models}
                for tenant, models in changes.items()
            }
            self._tell(keyspace, bumped)
            return bumped

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the tokens held."""
        with self._lock:
            held = self._unexpired(keyspace)
            return {model: held[tenant, model][0] for model in models if (tenant, model) in held}

    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Hold each token unless a larger one is held."""
        return self.raise_tokens_sync(keyspace, tokens)

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Hold each token unless a larger one is held."""
        with self._lock:
            held = self._unexpired(keyspace)
            raised: dict[str, Tokens] = {}
            for tenant, of_tenant in tokens.items():
                for model, token in of_tenant.items():
                    if token > held.get((tenant, model), ("",))[0]:
                        self._hold(held, (tenant, model), token)
                        raised.setdefault(tenant, {})[model] = token
            self._tell(keyspace, raised)
            return {tenant: {model: held[tenant, model][0] for model in models} for tenant, models in tokens.items()}

    async def drop(self, keyspace: Keyspace, changes: Changes) -> None:
        """Forget the tokens of these tenants' models."""
        self.drop_sync(keyspace, changes)

    def drop_sync(self, keyspace: Keyspace, changes: Changes) -> None:
        """Forget the tokens of these tenants' models."""
        with self._lock:
            held = self._unexpired(keyspace)
            for tenant, models in changes.items():
                for model in models:
                    held.pop((tenant, model), None)
            self._tell(keyspace, {tenant: dict.fromkeys(models, "") for tenant, models in changes.items()})

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Tell of all changes, at once, from the thread that makes them, under the lock that keeps them in order."""
        with self._lock:
            audience = self._audiences.setdefault((keyspace.namespace, tenant), Audience())
            if listener not in audience:
                audience.add(listener)
                told(lambda listener: listener.confirmed(_LINE), listener)
        return True

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Tell no more: once this has returned nothing is heard."""
        with self._lock:
            audience = self._audiences.get((keyspace.namespace, tenant))
            if audience is not None:
                audience.discard(listener)
                if not audience:
                    del self._audiences[keyspace.namespace, tenant]

    def _tell(self, keyspace: Keyspace, changed: Mapping[str, Tokens]) -> None:
        if self._audiences:
            for tenant, tokens in changed.items():
                audience = self._audiences.get((keyspace.namespace, tenant))
                if audience is not None and tokens:
                    audience.heard(dict(tokens))

    def _unexpired(self, keyspace: Keyspace) -> _Held:
        held = self._minted.setdefault(keyspace.namespace, OrderedDict())
        expired = self._monotonic() - keyspace.expiry
        while held and next(iter(held.values()))[1] <= expired:
            held.popitem(last=False)
        return held

    def _mint(self, keyspace: Keyspace, tenant: str, model: str) -> str:
        held = self._minted[keyspace.namespace]
        previous, _ = held.get((tenant, model), (None, 0.0))
        token = new_token(previous)
        self._hold(held, (tenant, model), token)
        return token

    def _hold(self, held: _Held, pair: tuple[str, str], token: str) -> None:
        held[pair] = (token, self._monotonic())
        held.move_to_end(pair)
        if len(held) > _MOST_TOKENS:
            held.popitem(last=False)
