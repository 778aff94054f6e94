"""The snapshots that one request's handler reads from, so that its answer is marked with the tokens of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import SnapshotError
from cache_revalidate.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.records import Collecting
    from cache_revalidate.types import SnapshotTokens, Tokens


class Bindings:
    """What was bound while one request is handled; used from any thread."""

    __slots__ = ("_bound", "_is_sealed")

    def __init__(self) -> None:
        # Appended to and read at the end, so that two threads can't overwrite what the other has found.
        self._bound: list[tuple[str, SnapshotTokens]] = []
        self._is_sealed = False

    def __bool__(self) -> bool:
        return bool(self._bound)

    def add(self, tenant: str, tokens: SnapshotTokens) -> None:
        """Bind the tokens of one snapshot; raise `SnapshotError` if the answer is on its way already, marked."""
        if self._is_sealed:
            raise SnapshotError(
                "A snapshot was bound after the answer's headers were sent, with tokens that were read elsewhere: a "
                "streamed answer binds in the handler, before it returns the stream."
            )
        self._bound.append((tenant, tokens))

    def unbound(self, tenant: str, models: Iterable[str]) -> list[str]:
        """Return those of a tenant's models that were not bound at all, sorted."""
        bound = {model for owner, tokens in self._bound if owner == tenant for model in tokens}
        return sorted(set(models) - bound)

    def tokens(self, tenant: str, models: Iterable[str]) -> Tokens | None:
        """Return the tokens of a tenant's models in the snapshots that were bound.

        None unless each model has exactly one: it has none where it was not bound, where its snapshot shows none, and
        where two snapshots differ.
        """
        found: Tokens = {}
        for model in sorted(set(models)):
            seen = {tokens[model] for owner, tokens in self._bound if owner == tenant and model in tokens}
            token = seen.pop() if len(seen) == 1 else None
            if token is None:
                return None
            found[model] = token
        return found

    def seal(self) -> None:
        """Note that an answer whose headers were marked is being sent: what is bound now comes too late."""
        self._is_sealed = True

    def unseal(self) -> None:
        """Note that the answer is through: what is read from now on is no part of it."""
        self._is_sealed = False


_records: Final[Records[Bindings]] = Records("cache_revalidate.bound")


def collect_bound(owner: object) -> Collecting[Bindings]:
    """Return the block in which what is bound for `owner` (a revalidator) is recorded; it gives the record."""
    return _records.collect(owner, Bindings())


def bindings_of(owner: object) -> Bindings | None:
    """Return the record that `owner` keeps for the request at hand, if there is one."""
    return _records.of(owner)
