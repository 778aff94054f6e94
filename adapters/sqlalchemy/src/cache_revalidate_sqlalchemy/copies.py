"""The copies that a durable store has in Redis or in memory: when they may be believed, and when they are raised.

A copy that could not be raised, or was raised too late, is made good by marks: this process asks the database for what
it has marked, until a look at the database that began later has raised the copies.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias

from cache_revalidate import CopyStore, Keyspace, Listener, StoreError
from cache_revalidate_sqlalchemy.dirty import Dirty, Look

Changes: TypeAlias = Mapping[str, Collection[str]]
Tokens: TypeAlias = dict[str, str]

_OUTLIVE: Final = 10.0
"""Seconds by which a mark outlives the copies, which may be made a little late, by a clock of their own."""
_RAISED_BY: Final = 2.0
"""Seconds within which a commit's fold raises the copies, unless something is in its way."""
_PAUSE: Final = 1.0
"""Seconds for which look-ups raise nothing after a failure, so that not each of them waits for a Redis that is away."""

_logger = logging.getLogger("cache_revalidate")


class Copies:
    """Copies in `store`, if there is one, each of which lives for `max_stale` seconds."""

    def __init__(self, store: CopyStore | None, max_stale: float) -> None:
        self._store = store
        self._max_stale = max_stale
        self._is_away = False
        self._failed_at = 0.0
        self._dirty: dict[str, Dirty] = {}
        self._keyspaces: dict[Keyspace, Keyspace] = {}

    @property
    def may_be_asked(self) -> bool:
        """Whether they can be reached, or it is time to try again."""
        return not self._is_away or time.monotonic() > self._failed_at + _PAUSE

    def mark(self, keyspace: Keyspace, changes: Changes) -> None:
        """Believe no copy of pairs that this process has committed, until a look that begins later is through."""
        self._marks(keyspace).mark(changes)

    def look(self, keyspace: Keyspace, changes: Changes) -> Look:
        """Note that the database is about to be asked for some pairs."""
        return self._marks(keyspace).look(changes)

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the copies of a tenant's models that are at hand; None if not all are, or one is not to be believed.

        A request may be answered by this alone, so it is quick.
        """
        if self._store is None or self._marks(keyspace).among(tenant, models):
            return None
        return self._store.held(self._keyspace(keyspace), tenant, models)

    async def peek(self, keyspace: Keyspace, tenant: str, models: Sequence[str], *, raises: bool) -> Tokens | None:
        """Return the copies of a tenant's models; None if they are not all there, or not to be believed.

        If they can't be reached, that is None, too, unless `raises`: then a `StoreError`.
        """
        if self._store is None or self._marks(keyspace).among(tenant, models):
            return None
        held: Tokens = {}
        with self._may_be_away(raises=raises):
            held = await self._store.peek(self._keyspace(keyspace), tenant, models)
        return held if len(held) == len(models) else None

    async def raise_to(self, keyspace: Keyspace, tokens: dict[str, Tokens], look: Look) -> bool:
        """Raise the copies to tokens that a look at the database has shown; say whether they are raised."""
        if self._store is None:
            look.settle()
            return True
        if look.may_raise():
            with self._may_be_away():
                await self._store.raise_tokens(self._keyspace(keyspace), tokens)
                if look.may_raise():
                    look.settle()
                    return True
                # This process was stopped on the way: for all it knows, it began an old copy's next life.
                await self._store.drop(self._keyspace(keyspace), tokens)
        return False

    def raise_to_sync(self, keyspace: Keyspace, tokens: dict[str, Tokens], look: Look) -> bool:
        """Do the same without an event loop."""
        if self._store is None:
            look.settle()
            return True
        if look.may_raise():
            with self._may_be_away():
                self._store.raise_tokens_sync(self._keyspace(keyspace), tokens)
                if look.may_raise():
                    look.settle()
                    return True
                self._store.drop_sync(self._keyspace(keyspace), tokens)
        return False

    async def drop(self, keyspace: Keyspace, changes: Changes) -> None:
        """Have nobody believe the copies of some pairs."""
        if self._store is not None and changes:
            with self._may_be_away():
                await self._store.drop(self._keyspace(keyspace), changes)

    def drop_sync(self, keyspace: Keyspace, changes: Changes) -> None:
        """Do the same without an event loop."""
        if self._store is not None and changes:
            with self._may_be_away():
                self._store.drop_sync(self._keyspace(keyspace), changes)

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Tell of all copies that are raised and dropped, if the store of the copies does."""
        return self._store is not None and self._store.listen(self._keyspace(keyspace), tenant, listener)

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Tell no more."""
        if self._store is not None:
            self._store.leave(self._keyspace(keyspace), tenant, listener)

    async def missed(self, keyspace: Keyspace) -> Changes:
        """Return the pairs whose copies should have been raised by now, once they can be reached again."""
        missed = self._marks(keyspace).older_than(_RAISED_BY) if self._store is not None else {}
        return missed if missed and await self._are_there() else {}

    async def check(self) -> None:
        """Raise `StoreError` unless they can be reached."""
        if self._store is not None:
            await self._store.check()

    @asynccontextmanager
    async def running(self, keyspace: Keyspace) -> AsyncIterator[None]:
        """Let the store of the copies do what it does by itself while the app runs: mirror them, say."""
        if self._store is None:
            yield
        else:
            async with self._store.running(self._keyspace(keyspace)):
                yield

    async def aclose(self) -> None:
        """Let go of connections."""
        if self._store is not None:
            await self._store.aclose()

    async def _are_there(self) -> bool:
        try:
            await self.check()
        except StoreError:
            return False
        return True

    def _marks(self, keyspace: Keyspace) -> Dirty:
        dirty = self._dirty.get(keyspace.namespace)
        if dirty is None:
            # Two threads that come first make one each, and use the same.
            dirty = self._dirty.setdefault(keyspace.namespace, Dirty(self._max_stale + _OUTLIVE))
        return dirty

    def _keyspace(self, keyspace: Keyspace) -> Keyspace:
        """Return the keyspace of the copies."""
        copied = self._keyspaces.get(keyspace)
        if copied is None:
            # Nothing held for a token may outlive the token.
            copied = Keyspace(keyspace.namespace, min(self._max_stale, keyspace.expiry))
            self._keyspaces[keyspace] = copied
        return copied

    @contextmanager
    def _may_be_away(self, *, raises: bool = False) -> Iterator[None]:
        """Keep a failure of the copies from whoever has, or will have, the database's answer; say it once an outage."""
        try:
            yield
        except StoreError as error:
            if not self._is_away:
                _logger.warning("The copies of the version tokens can't be reached, until this is over: %s", error)
            self._is_away = True
            self._failed_at = time.monotonic()
            if raises:
                raise
        else:
            self._is_away = False
