"""What a store of version tokens does: the contract that every store keeps.

`cache_revalidate.testing.StoreContract` is this contract as a test suite; a store of your own subclasses it.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    @abc.abstractmethod
    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Make each changed token a new, larger one; return the new tokens by tenant and model."""

    @abc.abstractmethod
    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Do as `bump` does, for callers without an event loop, from any thread."""

    async def check(self) -> None:  # noqa: B027 - most stores are always there
        """Raise `StoreError` if the store can't be reached; asked once, when the app starts."""

    async def aclose(self) -> None:  # noqa: B027
        """Let go of connections; the store may be used again afterwards."""
