"""What a client of either transport holds of one tenant, built from nothing but the events it was sent."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class TenantView:
    """The tokens of a tenant as a client has them, and what it has counted on the way."""

    tokens: dict[str, str] = field(default_factory=dict)
    """By model; compared with the store's when a test ends."""
    tag: str = ""
    events: int = 0
    fulls: int = 0
    """How many of the events were snapshots."""
    models: list[str] = field(default_factory=list)
    jitter: int = 0
    """The largest `jitter_ms` seen."""

    def take(self, data: dict[str, Any]) -> None:
        """Take in one event: a snapshot replaces what was held, anything else is laid over it."""
        self.events += 1
        if data.get("full"):
            self.fulls += 1
            self.tokens = {}
        if "models" in data:
            self.models = data["models"]
        self.tokens.update(data["cache_keys"])
        self.tag = data["tag"]
        self.jitter = max(self.jitter, data["jitter_ms"])
