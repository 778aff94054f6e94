"""Reads and bumps that go on while a Redis fails over, and what their callers may see of it."""

import asyncio
import bisect
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cache_revalidate import Keyspace, StoreError
from cache_revalidate.stores.redis import RedisStore

MODEL = "label"
DOORS = ("read", "read too", "bump", "bump too", "bump_sync")
"""The store's ways in, of which several are used at once, so that it needs several connections."""

_PACE_SECONDS = 0.003  # between one caller's calls, so that they don't fill the machine
_ERROR_PACE_SECONDS = 0.03
_RUN = 5  # answers without an error in a row that show that a door is open again


@dataclass(frozen=True, slots=True)
class Answer:
    """When a call was made and answered, by the monotonic clock, and with which token; None is a `StoreError`."""

    began: float
    ended: float
    token: str | None


@dataclass
class Traffic:
    """The calls so far, by door and tenant, and the errors by tenant."""

    keyspace: Keyspace
    readers: RedisStore
    writers: RedisStore
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=lambda: defaultdict(list))
    errors: dict[str, list[StoreError]] = field(default_factory=lambda: defaultdict(list))

    async def flows(self, tenants: Iterable[str], within: float) -> float:
        """Wait until every door has answered each tenant several times from now on; return the seconds it took."""
        started = time.monotonic()
        waiting = {(door, tenant) for door in DOORS for tenant in tenants}
        while waiting := {pair for pair in waiting if not self._is_open(pair, started)}:
            last = {tenant: self.errors[tenant][-1:] for _, tenant in waiting}
            assert time.monotonic() < started + within, f"after {within:g} s no answer to {waiting}: {last}"
            await asyncio.sleep(0.01)
        return time.monotonic() - started

    def bumped(self, tenant: str) -> list[str]:
        """Return the tokens that bumps of a tenant were answered."""
        return [token for _, token in self._tokens(tenant, DOORS[2:])]

    def assert_no_repeat(self) -> None:
        """Fail if two bumps of a tenant gave the same token."""
        for tenant in self._tenants():
            bumped = self.bumped(tenant)
            assert len(set(bumped)) == len(bumped)

    def assert_never_backward(self) -> None:
        """Fail if a call was answered older than a call that had ended before it began, or a bump not newer."""
        self.assert_no_repeat()
        for tenant in self._tenants():
            seen = sorted(((answer.ended, token) for answer, token in self._tokens(tenant, DOORS)))
            ends, newest = [ended for ended, _ in seen], [""]
            for _, token in seen:
                newest.append(max(newest[-1], token))
            for door in DOORS:
                for answer, token in self._tokens(tenant, [door]):
                    before = newest[bisect.bisect_left(ends, answer.began)]
                    assert token > before or (door.startswith("read") and token == before), (
                        f"{door} of tenant {tenant} went back from {before} to {token}"
                    )

    async def call(self, door: str, tenant: str) -> bool:
        """Go through a door once; say whether there was an answer."""
        began = time.monotonic()
        changes = {tenant: [MODEL]}
        try:
            if door.startswith("read"):
                tokens = await self.readers.read(self.keyspace, tenant, [MODEL])
            elif door == "bump_sync":
                tokens = (await asyncio.to_thread(self.writers.bump_sync, self.keyspace, changes))[tenant]
            else:
                tokens = (await self.writers.bump(self.keyspace, changes))[tenant]
        except StoreError as error:
            self.errors[tenant].append(error)
            token = None
        else:
            token = tokens[MODEL]
        self.answers[door, tenant].append(Answer(began, time.monotonic(), token))
        return token is not None

    def _is_open(self, pair: tuple[str, str], since: float) -> bool:
        last = self.answers[pair][-_RUN:]
        return len(last) == _RUN and all(answer.began >= since and answer.token is not None for answer in last)

    def _tenants(self) -> set[str]:
        return {tenant for _, tenant in self.answers}

    def _tokens(self, tenant: str, doors: Iterable[str]) -> list[tuple[Answer, str]]:
        answers = [answer for door in doors for answer in self.answers[door, tenant]]
        return [(answer, answer.token) for answer in answers if answer.token is not None]


@asynccontextmanager
async def traffic(
    open_store: Callable[[], RedisStore], keyspace: Keyspace, tenants: Sequence[str]
) -> AsyncIterator[Traffic]:
    """Give traffic for these tenants that flows; those who read have a store of their own, as another process would.

    An exception that is no `StoreError` is raised at once.
    """
    traffic = Traffic(keyspace, open_store(), open_store())
    stop = asyncio.Event()

    async def keep_calling(door: str, tenant: str) -> None:
        while not stop.is_set():
            answered = await traffic.call(door, tenant)
            await asyncio.sleep(_PACE_SECONDS if answered else _ERROR_PACE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for door in DOORS:
            for tenant in tenants:
                tasks.create_task(keep_calling(door, tenant))
        try:
            await traffic.flows(tenants, within=30.0)
            yield traffic
        finally:
            stop.set()
