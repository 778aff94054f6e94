"""What a store of version tokens does: the contract that every store keeps, and what some can do besides.

`cache_revalidate.testing.StoreContract` is the contract as a test suite; a store of your own subclasses it.
"""

from __future__ import annotations

import abc
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from cache_revalidate.stores.listening import Listener
    from cache_revalidate.stores.mirror import MirrorStats
    from cache_revalidate.types import Changes, Tokens


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Whose tokens are meant, and how long they live. Several revalidators may share a store."""

    namespace: str
    """Keeps the tokens of two revalidators in one store apart."""

    expiry: float
    """Seconds after which a token that nobody bumped is forgotten, and a new one minted when it is next read."""


class Store(abc.ABC):
    """Where tokens are held.

    Tenants and models that reach a store are canonical and checked. A store that can't answer raises `StoreError`
    and nothing else.
    """

    @abc.abstractmethod
    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the token of each of `models`, minting a unique one for each that is missing or malformed."""

    @property
    def mirror_stats(self) -> MirrorStats | None:
        """What the store has counted of tokens that it holds in this process, if it holds any."""
        return None

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:  # noqa: ARG002
        """Return the tokens of `models` if they are at hand, in this process, and may be believed; else None.

        Nothing is asked and nothing minted: it is what `read` would answer without having to wait. From any thread.
        """
        return None

    async def read_past(self, keyspace: Keyspace, tenant: str, models: Sequence[str], shown: Tokens) -> Tokens:  # noqa: ARG002
        """Do as `read` does, for a caller who has shown tokens that may be newer than those that are at hand here.

        What this process, or a copy, holds of a model is not believed where the caller has `shown` a larger token.
        """
        return await self.read(keyspace, tenant, models)

    @abc.abstractmethod
    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Make each changed token a new, larger one; return the new tokens by tenant and model."""

    @abc.abstractmethod
    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Do as `bump` does, for callers without an event loop, from any thread."""

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:  # noqa: ARG002
        """Tell `listener` of all changes of a tenant's tokens, until `leave`. Returns whether the store does.

        False: it does not, or not of all, so whoever wants to know reads every now and then. Who is being told already
        may be given again: nothing happens then, unless what he is told over is not the right place any more.

        `confirmed` and `lost` may be called before this returns.
        """
        return False

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:  # noqa: B027
        """Tell `listener` no more of a tenant, if he is told at all."""

    async def check(self) -> None:  # noqa: B027 - most stores are always there
        """Raise `StoreError` if the store can't be reached; asked once, when the app starts."""

    async def aclose(self) -> None:  # noqa: B027
        """Let go of connections; the store may be used again afterwards."""

    @asynccontextmanager
    async def running(self, keyspace: Keyspace) -> AsyncIterator[None]:  # noqa: ARG002 - for stores that work by themselves
        """Do what the store does by itself while the app runs: nothing, for most; let go of connections at the end."""
        try:
            yield
        finally:
            await self.aclose()


class CopyStore(Store):
    """A store that can also hold copies of tokens whose truth is elsewhere.

    A copy is a max-register: it is only ever raised. It is forgotten when the keyspace's expiry is over since it was
    raised to what it is, however often it was read since, or raised to the same or less: that is how long a copy can be
    wrong which was not raised when it should have been.
    """

    @abc.abstractmethod
    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the tokens held of `models`; those that are missing stay so."""

    @abc.abstractmethod
    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Hold each token unless a larger one is held; return those that are held then."""

    @abc.abstractmethod
    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Do as `raise_tokens` does, for callers without an event loop, from any thread."""

    @abc.abstractmethod
    async def drop(self, keyspace: Keyspace, changes: Changes) -> None:
        """Forget the copies of these tenants' models; those of other models may go with them."""

    @abc.abstractmethod
    def drop_sync(self, keyspace: Keyspace, changes: Changes) -> None:
        """Do as `drop` does, for callers without an event loop, from any thread."""


class FoldingStore(Store):
    """A store whose truth is in the app's own database, where each transaction notes what it touches.

    A fold makes new tokens of what committed transactions have noted.
    """

    @abc.abstractmethod
    async def fold(self, keyspace: Keyspace, changes: Changes, *, in_doubt: bool = False) -> dict[str, Tokens]:
        """Return the tokens of `changes`, with all counted in that was committed before the call.

        `in_doubt` says that the transaction may be committed a little later, or never.
        """

    @abc.abstractmethod
    def fold_sync(self, keyspace: Keyspace, changes: Changes, *, in_doubt: bool = False) -> dict[str, Tokens]:
        """Do as `fold` does, for callers without an event loop, from any thread."""
