"""How tokens are laid out in keys, and so what a read or a bump passes to its script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from cache_revalidate.exceptions import StoreError
from cache_revalidate.stores.redis.script import HASH, STRINGS, Script
from cache_revalidate.token import is_token, random_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from cache_revalidate.stores.base import Keyspace
    from cache_revalidate.stores.redis.clock import RedisClock
    from cache_revalidate.types import Changes, Tokens

Operation: TypeAlias = Literal["read", "bump", "peek", "raise"]


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One call of a script: what is sent, and whose tokens come back."""

    operation: Operation
    script: Script
    keys: list[str]
    arguments: list[str]
    changes: Changes
    clock: RedisClock

    def tokens(self, answer: object) -> dict[str, Tokens]:
        """Return the answered tokens by tenant and model; raise `StoreError` if they are not what was asked for."""
        expected = sum(map(len, self.changes.values()))
        *values, now = [_text(value) for value in answer] if isinstance(answer, list) and answer else [None]
        is_time = isinstance(now, str) and now.isdecimal() and not is_token(now)
        if is_time:
            self.clock.learn(int(cast("str", now)))
        if is_time and expected and not values and self.operation == "raise":
            raise StoreError("was asked too late to raise copies: it hung, or its clock has changed.")
        tokens = [value for value in values if is_token(value) or (value == "" and self.operation == "peek")]
        if not is_time or not len(tokens) == len(values) == expected:
            raise StoreError(f"answered {answer!r:.80} where {expected} tokens were expected: is it a Redis?")
        following = iter(tokens)
        return {
            # zip stops at the end of its first argument without taking a token too many from the second.
            tenant: {model: token for model, token in zip(models, following, strict=False) if token}
            for tenant, models in self.changes.items()
        }


def by_hash(operation: Operation, keyspace: Keyspace, changes: Changes, clock: RedisClock) -> ScriptCall:
    """Lay tokens out in one hash per tenant, whose fields are models.

    The braces make the tenant a cluster hash tag. Each field says when its token is forgotten: the expiry after it was
    made, which nothing prolongs, so a bump that was lost is made good by then at the latest. Had the hash one expiry
    for all, a token could be forgotten as soon as it is made, and an older one that is still on its way come after it.
    """
    keys, arguments = [], _head(operation, keyspace, clock)
    for tenant, models in changes.items():
        keys.append(_hash_key(keyspace, tenant))
        arguments += [str(len(models)), *models, *_given(operation, models)]
    return ScriptCall(operation, HASH, keys, arguments, changes, clock)


def by_chatwoot(operation: Operation, keyspace: Keyspace, changes: Changes, clock: RedisClock) -> ScriptCall:
    """Lay tokens out as Chatwoot does: one string per tenant and model, whose expiry each bump renews."""
    arguments = _head(operation, keyspace, clock)
    for models in changes.values():
        arguments += _given(operation, models)
    return ScriptCall(operation, STRINGS, _chatwoot_keys(keyspace, changes), arguments, changes, clock)


def _hash_key(keyspace: Keyspace, tenant: str) -> str:
    return f"{keyspace.namespace}:{{{tenant}}}"


def _hash_keys(keyspace: Keyspace, changes: Changes) -> list[str]:
    return [_hash_key(keyspace, tenant) for tenant in changes]


def _chatwoot_keys(keyspace: Keyspace, changes: Changes) -> list[str]:
    prefix = f"{keyspace.namespace}:idb-cache-key-account"
    return [f"{prefix}-{tenant}-{model}" for tenant, models in changes.items() for model in models]


def _given(operation: Operation, models: Collection[str]) -> Iterator[str]:
    """Yield what the script is given for each model: a token to raise to, or random digits to mint one with."""
    if operation == "raise":
        yield from cast("Tokens", models).values()
    else:
        yield from (f"{random_digits():04d}" if operation != "peek" else "" for _ in models)


@dataclass(frozen=True, slots=True)
class Layout:
    """How tokens are laid out in keys."""

    call: Callable[[Operation, Keyspace, Changes, RedisClock], ScriptCall]
    keys: Callable[[Keyspace, Changes], list[str]]
    """Returns the keys in which the tokens of some tenants' models are."""


LAYOUTS: Final[Mapping[str, Layout]] = {
    "hash": Layout(by_hash, _hash_keys),
    "chatwoot": Layout(by_chatwoot, _chatwoot_keys),
}


def _head(operation: Operation, keyspace: Keyspace, clock: RedisClock) -> list[str]:
    return [operation, str(round(keyspace.expiry * 1_000)), str(clock.deadline() if operation == "raise" else 0)]


def _text(value: object) -> object:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
