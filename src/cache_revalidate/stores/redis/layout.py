"""How tokens are laid out in keys, and so what a read or a bump passes to its script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from cache_revalidate.exceptions import StoreError
from cache_revalidate.stores.redis.script import HASH, STRINGS, Script
from cache_revalidate.token import is_token, random_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cache_revalidate.stores.base import Keyspace
    from cache_revalidate.types import Changes, Tokens

Operation: TypeAlias = Literal["read", "bump"]


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One call of a script: what is sent, and whose tokens come back."""

    script: Script
    keys: list[str]
    arguments: list[str]
    changes: Changes

    def tokens(self, answer: object) -> dict[str, Tokens]:
        """Return the answered tokens by tenant and model; raise `StoreError` if they are not what was asked for."""
        expected = sum(map(len, self.changes.values()))
        values = [value for value in map(_text, answer) if is_token(value)] if isinstance(answer, list) else []
        if len(values) != expected:
            raise StoreError(f"answered {answer!r:.80} where {expected} tokens were expected: is it a Redis?")
        following = iter(values)
        # zip stops at the end of its first argument without taking a token too many from the second.
        return {tenant: dict(zip(models, following, strict=False)) for tenant, models in self.changes.items()}


def by_hash(operation: Operation, keyspace: Keyspace, changes: Changes) -> ScriptCall:
    """Lay tokens out in one hash per tenant, whose fields are models.

    The braces make the tenant a cluster hash tag. The hash expires as one, a time after it was made that is never
    prolonged, so a bump that was lost is made good by then at the latest.
    """
    keys, arguments = [], [operation, _milliseconds(keyspace)]
    for tenant, models in changes.items():
        keys.append(f"{keyspace.namespace}:{{{tenant}}}")
        arguments += [str(len(models)), *models, *(_random() for _ in models)]
    return ScriptCall(HASH, keys, arguments, changes)


def by_chatwoot(operation: Operation, keyspace: Keyspace, changes: Changes) -> ScriptCall:
    """Lay tokens out as Chatwoot does: one string per tenant and model, whose expiry each bump renews."""
    prefix = f"{keyspace.namespace}:idb-cache-key-account"
    keys = [f"{prefix}-{tenant}-{model}" for tenant, models in changes.items() for model in models]
    return ScriptCall(STRINGS, keys, [operation, _milliseconds(keyspace), *(_random() for _ in keys)], changes)


LAYOUTS: Final[Mapping[str, Callable[[Operation, Keyspace, Changes], ScriptCall]]] = {
    "hash": by_hash,
    "chatwoot": by_chatwoot,
}


def _milliseconds(keyspace: Keyspace) -> str:
    return str(round(keyspace.expiry * 1_000))


def _random() -> str:
    return f"{random_digits():04d}"


def _text(value: object) -> object:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
