"""The mirrors of one store: one for each namespace whose app runs on the event loop that listens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.stores.base import Keyspace
from cache_revalidate.stores.mirror import Mirror, MirrorStats
from cache_revalidate.stores.redis.layout import tenant_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from cache_revalidate.stores.mirror import Reading
    from cache_revalidate.stores.redis.feed import Feed
    from cache_revalidate.types import Changes, Tokens

_LONGEST: Final = 60.0
_PART_OF_EXPIRY: Final = 4


class Mirroring:
    """Mirrors up to `tenants` tenants of a namespace, 0 for none, each token for `seconds` at the most.

    `db` is the number of the database in which they are.
    """

    def __init__(self, tenants: int, seconds: float, db: int) -> None:
        if isinstance(tenants, bool) or not isinstance(tenants, int) or tenants < 0:
            raise ConfigurationError(f"mirrored_tenants {tenants!r} is not a number of tenants: 0 is for none.")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
            raise ConfigurationError(f"mirrored_for {seconds!r} is not a number of seconds above 0, up to a minute.")
        self.stats: Final = MirrorStats()
        self._tenants = tenants
        self._seconds = seconds
        self._db = db
        self._mirrors: dict[str, Mirror] = {}
        self._feed: Feed | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the tokens of `models` if all are held."""
        mirror = self._mirrors.get(keyspace.namespace)
        return None if mirror is None else mirror.held(tenant, models)

    def reading(self, keyspace: Keyspace, tenant: str) -> Reading | None:
        """Note that Redis is about to be asked for a tenant's tokens; None if the answer is not to be held."""
        mirror = self._mirrors.get(keyspace.namespace)
        if mirror is None or asyncio.get_running_loop() is not self._loop:
            return None
        return mirror.reading(tenant, self._life(keyspace))

    def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, Tokens]) -> None:
        """Raise what is held to tokens that this process has just had made."""
        if mirror := self._mirrors.get(keyspace.namespace):
            mirror.raise_tokens(tokens)

    def drop(self, keyspace: Keyspace, changes: Changes) -> None:
        """Hold nothing of these tenants' models."""
        if mirror := self._mirrors.get(keyspace.namespace):
            mirror.drop(changes)

    def beneath(self, keyspace: Keyspace) -> Keyspace:
        """Return for how long Redis is to hold tokens: what is read at the last moment is held here for a while."""
        return Keyspace(keyspace.namespace, keyspace.expiry - self._life(keyspace)) if self._tenants else keyspace

    @asynccontextmanager
    async def running(self, keyspace: Keyspace, feed: Feed | None) -> AsyncIterator[None]:
        """Mirror a namespace inside the block, by the running loop's feed, unless another app does already."""
        if feed is None or not self._tenants:
            yield
            return
        if self._feed is not feed:  # All that the one before mirrored has ended, or was abandoned with its loop.
            self._mirrors, self._feed, self._loop = {}, feed, asyncio.get_running_loop()
            self.stats.tenants = 0
        if keyspace.namespace in self._mirrors:
            yield
            return
        channel = partial(tenant_channel, keyspace.namespace, self._db)
        mirror = Mirror(feed, channel, self.stats, most=self._tenants)
        self._mirrors[keyspace.namespace] = mirror
        try:
            yield
        finally:
            if self._feed is feed:
                del self._mirrors[keyspace.namespace]
                mirror.close()

    def _life(self, keyspace: Keyspace) -> float:
        return min(self._seconds, keyspace.expiry / _PART_OF_EXPIRY)
