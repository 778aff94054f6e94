"""A process that is stopped on the way from the database to the copies begins no old copy's next life."""

import time
from collections.abc import Callable, Mapping

import pytest
from adapters.sqlalchemy.tests.durable.databases import Database

from cache_revalidate import Keyspace, MemoryStore
from cache_revalidate_sqlalchemy import dirty

KEYSPACE = Keyspace("late", 3600.0)
STOPPED = 0.3


class StoppedBefore(MemoryStore):
    """Copies whose process is stopped, once, when all that is left to do is to raise them."""

    is_stopped_next = False

    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """Raise the copies, late."""
        return self.raise_tokens_sync(keyspace, tokens)

    def raise_tokens_sync(self, keyspace: Keyspace, tokens: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """Raise the copies, late."""
        if self.is_stopped_next:
            self.is_stopped_next = False
            time.sleep(STOPPED)
        return super().raise_tokens_sync(keyspace, tokens)


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> StoppedBefore:
    """Give copies; what is read of the database is too old for them sooner than it would be."""
    monkeypatch.setattr(dirty, "_RAISES_WITHIN", STOPPED / 2)
    return StoppedBefore()


async def test_late_raise_leaves_no_copy(database_of: Callable[[str], Database], copy: StoppedBefore) -> None:
    """A read that was stopped for too long before it raised the copy takes it back; the next one looks again."""
    async with database_of("sqlite3").store("sqlite3", copy) as store:
        copy.is_stopped_next = True
        first = await store.read(KEYSPACE, "1", ["label"])
        assert await copy.peek(KEYSPACE, "1", ["label"]) == {}
        assert await store.read(KEYSPACE, "1", ["label"]) == first == await copy.peek(KEYSPACE, "1", ["label"])


async def test_late_fold_leaves_no_copy(database_of: Callable[[str], Database], copy: StoppedBefore) -> None:
    """So does a fold, from whichever door; its process goes on to read in the database until a raise was in time."""
    async with database_of("sqlite3").store("sqlite3", copy) as store:
        for bump in (store.bump_sync, None):
            copy.is_stopped_next = True
            tokens = bump(KEYSPACE, {"1": ["label"]}) if bump else await store.bump(KEYSPACE, {"1": ["label"]})
            assert await copy.peek(KEYSPACE, "1", ["label"]) == {}
            assert await store.read(KEYSPACE, "1", ["label"]) == tokens["1"]
