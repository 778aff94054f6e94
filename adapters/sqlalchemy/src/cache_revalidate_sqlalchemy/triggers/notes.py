"""What triggers are to note, in plain words and names: it is kept in migrations, where no class of the app is.

A note's SQL speaks of the rows that a statement wrote as `changed`, which stands for the last table of its way.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """A join: from the rows so far to those of another table."""

    table: str
    on: tuple[tuple[str, str], ...]
    """Pairs of a column here and the column there that equals it."""
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Whose models a written row touches."""

    models: tuple[str, ...]
    tenant: str
    """An SQL expression of the columns of `changed`: the tenant, or a set of them."""
    via: tuple[Step, ...] = ()
    """The way from the written rows to those that tell the tenant."""
    moved: tuple[str, ...] = ()
    """Columns by which other rows find their tenant: only those rows of an UPDATE count that changed one of them."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A table whose writes are noted."""

    table: str
    notes: tuple[Note, ...]
    schema: str | None = None

    @property
    def name(self) -> str:
        """The table's name as messages show it."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    def to_json(self) -> str:
        """Return it as text, which the database keeps beside the trigger's function."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Tracked:
        """Return what `to_json` made a text of."""
        return cls(**{**(given := json.loads(text)), "notes": tuple(map(_note, given["notes"]))})


def _note(given: dict[str, Any]) -> Note:
    via = tuple(Step(**{**step, "on": tuple(map(tuple, step["on"]))}) for step in given["via"])
    return Note(tuple(given["models"]), given["tenant"], via, tuple(given["moved"]))
