"""Why a connection ends, and what its client is told of it."""

from __future__ import annotations

import enum


class Closing(enum.Enum):
    """A reason to end a connection: a WebSocket's close code (RFC 6455 section 7.4), and the words that go with it.

    After each of them but those that say otherwise, a client comes again, shows what it holds, and has lost nothing.
    """

    GONE = 1000, "the client has gone"
    GOING_AWAY = 1001, "the server goes away: come again"
    TOO_LARGE = 1009, "the message is too large"
    FAILED = 1011, "the server has failed"
    MISUNDERSTOOD = 4400, "the message was not understood"
    REFUSED = 4403, "you may not see this any longer"
    STALLED = 4408, "nothing was read, or answered, in time"
    OLD = 4410, "this connection has lived long enough: come again"
    TOO_MANY = 4429, "too many messages or subscriptions"

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
