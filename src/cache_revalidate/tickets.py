"""Signed, short-lived tickets: how an EventSource, which can't set headers, shows that its page was let in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import math
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

from cache_revalidate.access import Grant
from cache_revalidate.exceptions import ConfigurationError, Refused
from cache_revalidate.types import EVERYONE

MAX_TICKET_LENGTH: Final = 4096
"""The most characters of a ticket; a longer one is neither issued nor read."""

LEEWAY: Final = 5.0
"""By how many seconds the clocks of two machines may differ, for one to take what the other has issued."""

_SHORTEST_SECRET: Final = 32
_MAKE_ONE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'

# The key is made of the secret for this purpose alone, so that nothing else that an app signs with it is a ticket.
_PURPOSE: Final = b"cache_revalidate.tickets"
_VERSION: Final = 1
_SIGNATURE_SIZE: Final = hashlib.sha256().digest_size
# Version, the ticket's expiry, the grant's, whether the viewer is EVERYONE, and the length of the tenant: the viewer
# is what comes after it.
_head = struct.Struct(">Bdd?H")

_logger = logging.getLogger("cache_revalidate")


class Tickets:
    """Issues tickets to callers who were let in, and takes them in place of what let them in.

    A ticket is URL-safe text. It names a tenant, the viewer and when the viewer's grant ends, can be read by whoever
    has it, and is good for `lifetime` seconds, as often as it is shown: long enough to open a stream with it. It is
    taken for 5 seconds more, so that the clocks of several machines may differ by as much.

    `secrets` are one or several of 32 characters or more, and the same on all machines: the first signs (HMAC-SHA-256,
    RFC 2104), each verifies. To change it, put the new one behind the old one everywhere, then before it, and
    take the old one out. `time` is the clock, in seconds since 1970.

    Raises `ConfigurationError` if these could not work.
    """

    __slots__ = ("_keys", "_time", "lifetime")

    def __init__(
        self, secrets: str | Sequence[str], lifetime: float = 30.0, *, time: Callable[[], float] = time.time
    ) -> None:
        self._keys: Final = tuple(map(_key, _checked_secrets(secrets)))
        self.lifetime: Final = _checked_lifetime(lifetime)
        """Seconds for which a ticket is good."""
        self._time = time

    def issue(self, tenant: str, grant: Grant) -> str:
        """Return a ticket for what `grant` lets its viewer see of the canonical `tenant`.

        Raises `Refused` if the grant is over, or (which is logged) if the viewer's name is too long for a URL.
        """
        now = self._time()
        if not now < grant.expires_at:
            raise Refused
        is_everyone = grant.viewer is EVERYONE
        owner = _bytes(tenant)
        viewer = b"" if grant.viewer is EVERYONE else _bytes(grant.viewer)
        head = _head.pack(_VERSION, now + self.lifetime, grant.expires_at, is_everyone, len(owner))
        ticket = _text(_signed(self._keys[0], head + owner + viewer))
        if len(ticket) > MAX_TICKET_LENGTH:
            _logger.error(
                "A viewer of %d bytes is too long for a ticket, which goes into a URL: the caller is refused. Let "
                "authorize return something shorter, a user's id.",
                len(viewer),
            )
            raise Refused
        return ticket

    def opened(self, ticket: str, tenant: str) -> Grant:
        """Return what a ticket for the canonical `tenant` grants; raise `Refused` for whatever else it may be."""
        message = self._verified(ticket)
        if len(message) < _head.size:
            raise Refused
        version, good_until, expires_at, is_everyone, length = _head.unpack_from(message)
        owner, viewer = message[_head.size : _head.size + length], message[_head.size + length :]
        now = self._time()
        # By a clock that was turned back, a ticket would be good for much longer than any is.
        is_good = -LEEWAY < good_until - now <= self.lifetime + LEEWAY
        if version != _VERSION or not is_good or not now < expires_at or owner != _bytes(tenant):
            raise Refused
        return Grant(EVERYONE if is_everyone else viewer.decode("utf-8", "surrogatepass"), expires_at)

    def _verified(self, ticket: str) -> bytes:
        """Return the message that one of the secrets has signed."""
        if len(ticket) > MAX_TICKET_LENGTH:
            raise Refused
        try:
            signed = base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))
        except ValueError:
            raise Refused from None
        # The decoder reads over what is not base64, and over the last bits of the last character.
        if _text(signed) != ticket:
            raise Refused
        message = signed[:-_SIGNATURE_SIZE]
        if not any(hmac.compare_digest(_signed(key, message), signed) for key in self._keys):
            raise Refused
        return message


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(signed: bytes) -> str:
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")


def _key(secret: str) -> bytes:
    return hmac.digest(_bytes(secret), _PURPOSE, "sha256")


def _signed(key: bytes, message: bytes) -> bytes:
    return message + hmac.digest(key, message, "sha256")


def _checked_secrets(secrets: str | Sequence[str]) -> tuple[str, ...]:
    # None of the messages shows a secret.
    several = (secrets,) if isinstance(secrets, str) else secrets
    if not isinstance(several, Sequence) or not all(isinstance(secret, str) for secret in several):
        raise ConfigurationError(f"secrets is a {type(secrets).__name__}: pass a string, or a list of strings.")
    if not several:
        raise ConfigurationError(f"There is no secret to sign tickets with. Make one: {_MAKE_ONE}")
    for secret in several:
        if len(secret) < _SHORTEST_SECRET:
            raise ConfigurationError(
                f"A secret of {len(secret)} characters can be guessed: it needs {_SHORTEST_SECRET}. "
                f"Make one: {_MAKE_ONE}"
            )
    return tuple(several)


def _checked_lifetime(lifetime: float) -> float:
    is_number = isinstance(lifetime, int | float) and not isinstance(lifetime, bool)
    if not is_number or not 0 < lifetime < math.inf:
        raise ConfigurationError(f"lifetime is {lifetime!r}: say for how many seconds a ticket is good, 30.0 for one.")
    return float(lifetime)
