"""What push says and is told: pure functions and values, whichever transport carries them.

Tokens are state and no messages: whoever shows what it holds is told what differs, so nothing has to be kept for those
who were away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cache_revalidate.http.cache_keys import cache_keys, cache_keys_field
from cache_revalidate.token import is_token

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cache_revalidate.types import Tokens

DEFAULT_EVENT: Final = "account.cache_invalidated"
HEARTBEAT: Final = "heartbeat"

_TAG_KEY: Final = "*tag"
"""Stands for the tag in a field of tokens; no model is called so."""

_LONGEST_TAG: Final = 64
"""More than any tag has; what a client shows is kept until it is told something."""

_EXACT_DIGITS: Final = 15
"""How many digits a JSON number may have that every reader takes for the same (RFC 8259 section 6)."""


class Known(NamedTuple):
    """What a client has shown that it holds."""

    tokens: Tokens
    """By model; those that are malformed, or of models that the revalidator has not, are left out."""
    tag: str | None


NOTHING_KNOWN: Final = Known({}, None)


def known_of_field(field: bytes, models: Collection[str]) -> Known:
    """Return what a field in the form of `tokens_field` shows; a malformed one shows nothing."""
    shown = cache_keys(field)
    return _known(shown, models, shown.get(_TAG_KEY))


def known_of_json(shown: object, models: Collection[str]) -> Known:
    """Return what a JSON value `{"cache_keys": {…}, "tag": "…"}` shows; anything else shows nothing."""
    if not isinstance(shown, dict) or not isinstance(tokens := shown.get("cache_keys"), dict):
        return NOTHING_KNOWN
    return _known(tokens, models, shown.get("tag"))


def _known(shown: Mapping[str, Any], models: Collection[str], tag: object) -> Known:
    tokens = {model: token for model in models if is_token(token := shown.get(model))}
    return Known(tokens, tag if isinstance(tag, str) and len(tag) <= _LONGEST_TAG else None)


def tokens_field(tokens: Tokens, tag: str) -> str:
    """Return all that a client holds as one line: `*tag="3f2a…", label="1795…"`, as it comes back in Last-Event-ID.

    It is a structured-field dictionary of strings, like `Cache-Keys` (RFC 9651 section 3.2).
    """
    return cache_keys_field({_TAG_KEY: tag, **tokens}).decode("ascii")


@dataclass(frozen=True, slots=True)
class Update:
    """News of one tenant's tokens, for one tag: encoded once, sent to many."""

    json: str
    """The data of the event."""
    text: str
    """The event as a WebSocket's message."""
    sse: bytes
    """The event as server-sent events have it."""


class Encoder:
    """Makes updates of one tenant; `event` is the name that they go by, `models` are the revalidator's."""

    __slots__ = ("_account", "_event", "_event_json", "_models_json")

    def __init__(self, event: str, tenant: str, models: Collection[str]) -> None:
        self._event = event
        self._event_json = _dumps(event)
        self._account = _dumps(account_id(tenant))
        self._models_json = _dumps([*models])

    def first(self, tokens: Tokens, tag: str, known: Known, jitter: int) -> Update:
        """Return the update that a connection begins with: what differs from what is known, be it nothing."""
        is_full = known.tag != tag or not known.tokens
        shown = {} if is_full else known.tokens
        news = {model: token for model, token in tokens.items() if shown.get(model) != token}
        more = f',"full":{"true" if is_full else "false"},"models":{self._models_json}'
        return self._update(news, tokens, tag, jitter, more)

    def later(self, news: Tokens, tokens: Tokens, tag: str, jitter: int) -> Update:
        """Return the update that says what is new; `tokens` are all there are now."""
        return self._update(news, tokens, tag, jitter, "")

    def _update(self, news: Tokens, tokens: Tokens, tag: str, jitter: int, more: str) -> Update:
        keys = f'{{"account_id":{self._account},"cache_keys":{_dumps(news)},"tag":{_dumps(tag)}'
        data = f'{keys}{more},"jitter_ms":{jitter}}}'
        sse = f"event: {self._event}\nid: {tokens_field(tokens, tag)}\ndata: {data}\n\n"
        return Update(data, f'{{"event":{self._event_json},"data":{data}}}', sse.encode())


def account_id(tenant: str) -> int | str:
    """Return a tenant as events name it: a number where it is one, as it is in the app's own JSON."""
    is_number = tenant.isdecimal() and len(tenant) <= _EXACT_DIGITS and (tenant[0] != "0" or tenant == "0")
    return int(tenant) if is_number else tenant


def sse_event(event: str, data: Mapping[str, object]) -> bytes:
    """Return an event without an id."""
    return f"event: {event}\ndata: {_dumps(data)}\n\n".encode()


def socket_message(event: str, data: Mapping[str, object]) -> str:
    """Return an event as a WebSocket's message."""
    return _dumps({"event": event, "data": data})


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
