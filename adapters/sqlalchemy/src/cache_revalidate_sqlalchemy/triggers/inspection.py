"""What is found where triggers are not as they were declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Problem: TypeAlias = Literal[
    "no table", "no trigger", "no trigger possible", "disabled", "outdated", "left over", "no rights", "row security"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as declared."""

    problem: Problem
    relation: str
    """The table or the partition, with its schema where one is known."""
    detail: str
    """What it is, and what mends it."""
    role: str | None = None
    """Whose writes fail or go unnoted, where that is one role's trouble."""

    def __str__(self) -> str:
        return f"{self.relation}: {self.problem}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `Triggers.inspect` found."""

    namespace: str
    findings: tuple[Finding, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every write is noted, as declared."""
        return not self.findings

    def __str__(self) -> str:
        if self.is_complete:
            return f"The triggers of the namespace {self.namespace} are as declared."
        return "\n".join(
            [f"The triggers of the namespace {self.namespace} are not as declared.", *map(str, self.findings)]
        )
