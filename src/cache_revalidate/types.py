"""The types that travel between the layers."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, Literal, TypeAlias

Tokens: TypeAlias = dict[str, str]
"""One tenant's version tokens by model."""

SnapshotTokens: TypeAlias = Mapping[str, str | None]
"""Tokens as one snapshot of a database shows them; None where it shows none that rows may be filed under."""

Changes: TypeAlias = Mapping[str, Collection[str]]
"""Canonical tenants, and the models of each that changed."""


class _Everyone(enum.Enum):
    EVERYONE = "everyone"


EVERYONE = _Everyone.EVERYONE
"""The viewer where all who may see a tenant see the same of it."""

Viewer: TypeAlias = str | Literal[_Everyone.EVERYONE]
"""Who asks: a string that differs where what they see differs, or `EVERYONE`."""

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HeaderList: TypeAlias = list[tuple[bytes, bytes]]
"""Headers as ASGI carries them: lower-case names, in order, repeats allowed."""
