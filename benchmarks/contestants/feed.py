"""What all contestants that push share: their paths, and an event of about the same bytes for all of them."""

import json
import secrets
import time
from dataclasses import dataclass
from typing import Final

KEYS: Final = "/api/v1/accounts/1/cache_keys"
EVENTS: Final = f"{KEYS}/events"
"""Where a GET begins a stream of server-sent events."""
SOCKET: Final = f"{KEYS}/socket"
"""Where a WebSocket begins; its client's first message is `SUBSCRIBE`, to which the first event is the answer."""
FIRE: Final = "/fire"
"""A POST to it makes one event for all."""
PATTERN: Final = "/api/v1/accounts/{account_id:int}/cache_keys"

MODELS: Final = ("inbox", "label", "team")
EVENT: Final = "account.cache_invalidated"
SUBSCRIBE: Final = '{"type":"subscribe"}'
_TAG: Final = "cOtUEM8ZuNVu1Y0Xq0vTUA"


@dataclass(frozen=True)
class News:
    """One change, as this library tells it."""

    id: str
    data: str

    @property
    def frame(self) -> bytes:
        """The server-sent event."""
        return f"event: {EVENT}\nid: {self.id}\ndata: {self.data}\n\n".encode()

    @property
    def message(self) -> str:
        """The text message for a WebSocket."""
        return f'{{"event":"{EVENT}","data":{self.data}}}'


def news() -> News:
    """Make a token that is new, and return what tells it."""
    token = f"{time.time_ns() // 1_000:016d}{secrets.randbelow(10_000):04d}"
    keys = "".join(f', {model}="{token}"' for model in MODELS)
    data = {"account_id": 1, "cache_keys": {"label": token}, "tag": _TAG, "jitter_ms": 0}
    return News(f'*tag="{_TAG}"{keys}', json.dumps(data, separators=(",", ":")))
