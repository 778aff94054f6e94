"""Brings what was noted in an app's other databases to the one that holds the tokens.

A transaction notes what it touches in its own database, with its data. From there the pending rows are forwarded:
read, inserted at home, committed there, and only then deleted. A crash between the two forwards them again, which
bumps once too often. Who looks at the others first and then at home misses nothing that is on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from cache_revalidate import StoreError

if TYPE_CHECKING:
    from cache_revalidate_sqlalchemy.engines import Engines
    from cache_revalidate_sqlalchemy.ledger import Ledger


class Forwarding:
    """Forwards pending rows of other databases."""

    def __init__(self, home: Engines, others: Sequence[Engines]) -> None:
        self._home = home
        self._others = others

    async def forward(self, ledger: Ledger, changes: Mapping[str, Collection[str]] | None = None) -> StoreError | None:
        """Forward the rows of `changes`, by default all; return the error of a database that could not be asked."""
        missed = None
        for other in self._others:
            try:
                while found := await other.run(lambda connection: ledger.pending_of(connection, changes)):
                    await self._home.run(lambda connection: ledger.note_alone(connection, found.changes))
                    await other.run(lambda connection: ledger.delete_pending(connection, found.ids))
                    if found.are_all:
                        break
            except StoreError as error:
                missed = error
        return missed

    def forward_sync(self, ledger: Ledger, changes: Mapping[str, Collection[str]]) -> StoreError | None:
        """Do the same without an event loop."""
        missed = None
        for other in self._others:
            try:
                while found := other.run_sync(lambda connection: ledger.pending_of(connection, changes)):
                    self._home.run_sync(lambda connection: ledger.note_alone(connection, found.changes))
                    other.run_sync(lambda connection: ledger.delete_pending(connection, found.ids))
                    if found.are_all:
                        break
            except StoreError as error:
                missed = error
        return missed
