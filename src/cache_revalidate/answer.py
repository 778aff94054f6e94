"""Whole responses of the library's own: a 304, and those of the keys endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache_revalidate.http.problem import problem_details

if TYPE_CHECKING:
    from cache_revalidate.types import HeaderList, Message, Send


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response: small, made in one piece, sent by whoever asked for it; the same one may be sent again."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    def messages(self, method: str) -> tuple[Message, Message]:
        """Return this as ASGI messages: new ones each time, as whoever is further out may change what it is sent."""
        return (
            {"type": "http.response.start", "status": self.status, "headers": [*self.headers]},
            {"type": "http.response.body", "body": b"" if method == "HEAD" else self.body},
        )

    async def send(self, send: Send, *, method: str) -> None:
        """Send this over ASGI."""
        for message in self.messages(method):
            await send(message)

    def body_for(self, method: str) -> bytes:
        """Return the body: none to a HEAD (RFC 9110 section 9.3.2)."""
        return b"" if method == "HEAD" else self.body


def not_modified(headers: HeaderList) -> Answer:
    """Return a 304 with these headers."""
    return Answer(304, tuple(headers))


def problem(status: int, detail: str, *extra: tuple[bytes, bytes]) -> Answer:
    """Return an error as problem details, never to be stored."""
    body = problem_details(status, detail)
    return Answer(
        status,
        (
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *extra,
        ),
        body,
    )
