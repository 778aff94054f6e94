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

Operation: TypeAlias = Literal["read", "bump", "peek", "raise", "drop"]

_HELD_NOTHING: Final = frozenset(("peek", "drop"))
"""What answers an empty string where no token is held."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What all calls of one store have in common."""

    clock: RedisClock
    clustered: bool
    unpublished: Callable[[str], None]
    """Is told why Redis did not let a script publish what it has changed."""
    db: int = 0
    """The number of the database: Redis has one set of channels for all of them."""


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One call of a script: what is sent, and whose tokens come back."""

    operation: Operation
    script: Script
    keys: list[str]
    arguments: list[str]
    changes: Changes
    context: CallContext

    def tokens(self, answer: object) -> dict[str, Tokens]:
        """Return the answered tokens by tenant and model; raise `StoreError` if they are not what was asked for."""
        expected = sum(map(len, self.changes.values()))
        *values, closing = [_text(value) for value in answer] if isinstance(answer, list) and answer else [None]
        now, _, refusal = closing.partition(" ") if isinstance(closing, str) else ("", "", "")
        is_time = now.isdecimal() and not is_token(now)
        if is_time:
            self.context.clock.learn(int(now))
        if refusal:
            self.context.unpublished(refusal)
        if is_time and expected and not values and self.operation == "raise":
            raise StoreError("was asked too late to raise copies: it hung, or its clock has changed.")
        may_be_none = self.operation in _HELD_NOTHING
        tokens = [value for value in values if is_token(value) or (may_be_none and value == "")]
        if not is_time or not len(tokens) == len(values) == expected:
            raise StoreError(f"answered {answer!r:.80} where {expected} tokens were expected: is it a Redis?")
        following = iter(tokens)
        return {
            # zip stops at the end of its first argument without taking a token too many from the second.
            tenant: {model: token for model, token in zip(models, following, strict=False) if token}
            for tenant, models in self.changes.items()
        }


def by_hash(operation: Operation, keyspace: Keyspace, changes: Changes, context: CallContext) -> ScriptCall:
    """Lay tokens out in one hash per tenant, whose fields are models.

    The braces make the tenant a cluster hash tag. Each field says when its token is forgotten: the expiry after it was
    made, which nothing prolongs, so a bump that was lost is made good by then at the latest. Had the hash one expiry
    for all, a token could be forgotten as soon as it is made, and an older one that is still on its way come after it.
    """
    keys, arguments = [], _head(operation, keyspace, context)
    for tenant, models in changes.items():
        keys.append(tenant_key(keyspace.namespace, tenant))
        arguments += [str(len(models)), *models, *_given(operation, models)]
    return ScriptCall(operation, HASH, keys, arguments, changes, context)


def by_chatwoot(operation: Operation, keyspace: Keyspace, changes: Changes, context: CallContext) -> ScriptCall:
    """Lay tokens out as Chatwoot does: one string per tenant and model, whose expiry each bump renews."""
    prefix = f"{keyspace.namespace}:idb-cache-key-account"
    keys, arguments = [], _head(operation, keyspace, context)
    for tenant, models in changes.items():
        beginning = tenant_key(keyspace.namespace, tenant)
        for model, given in zip(models, _given(operation, models), strict=True):
            keys.append(f"{prefix}-{tenant}-{model}")
            arguments += [beginning, model, given]
    return ScriptCall(operation, STRINGS, keys, arguments, changes, context)


def tenant_key(namespace: str, tenant: str) -> str:
    """Return the key of a tenant's hash, with which its channel begins."""
    return f"{namespace}:{{{tenant}}}"


def tenant_channel(namespace: str, db: int, tenant: str) -> str:
    """Return a tenant's channel, on which all its changes are published."""
    return tenant_key(namespace, tenant) + _channel_end(db)


def _channel_end(db: int) -> str:
    return f"@{db}" if db else ""


def published_tokens(message: bytes) -> Tokens:
    """Return what a message of a channel says: new tokens by model, empty where one is to be forgotten.

    What the scripts have not published says nothing.
    """
    words = message.decode("ascii", "replace").split(" ")
    pairs = zip(words[::2], words[1::2], strict=False)
    return {model: token if is_token(token) else "" for model, token in pairs if token == "-" or is_token(token)}  # noqa: S105


def _given(operation: Operation, models: Collection[str]) -> Iterator[str]:
    """Yield what the script is given for each model: a token to raise to, or random digits to mint one with."""
    if operation == "raise":
        yield from cast("Tokens", models).values()
    else:
        yield from ("" if operation in _HELD_NOTHING else f"{random_digits():04d}" for _ in models)


def _head(operation: Operation, keyspace: Keyspace, context: CallContext) -> list[str]:
    return [
        operation,
        str(round(keyspace.expiry * 1_000)),
        str(context.clock.deadline() if operation == "raise" else 0),
        "SPUBLISH" if context.clustered else "PUBLISH",
        _channel_end(context.db),
    ]


Layout: TypeAlias = "Callable[[Operation, Keyspace, Changes, CallContext], ScriptCall]"
"""How tokens are laid out in keys."""

LAYOUTS: Final[Mapping[str, Layout]] = {"hash": by_hash, "chatwoot": by_chatwoot}


def _text(value: object) -> object:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
