"""Readers, as caching clients do it: they hold rows, ask whether these are right, and show them if they are."""

import asyncio
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

from tests.hunt.checker import WATCHER
from tests.hunt.door import Answer, Door
from tests.hunt.history import Read
from tests.hunt.plan import Plan
from tests.hunt.worker.desk import revision_of

_NAPS = 0.02
_NAP_SECONDS = (3.0, 15.0)


@dataclass(frozen=True)
class Held:
    """Rows that a client holds."""

    validator: str
    """What it shows to learn whether they are right."""
    revision: int


class Client(ABC):
    """One client, which looks at the labels of one tenant again and again."""

    kind: str

    def __init__(self, number: int, tenant: int, door: Door, chance: random.Random) -> None:
        self.name = f"{self.kind} {number}"
        self.tenant = tenant
        self._door = door
        self._chance = chance
        self.turn = asyncio.Lock()
        """Held while it reads; who holds it keeps it from reading."""
        self._held: Held | None = None
        self.shown = 0
        """The revision that was shown last."""

    @property
    def holds_rows(self) -> bool:
        """Whether it has been given rows that it may keep."""
        return self._held is not None

    async def read(self, worker: int | None = None) -> None:
        """Show the list once: what is held, if it is right, else what is fetched."""
        async with self.turn:
            await self._read(worker)

    async def keep_reading(self, every: float) -> None:
        """Read about every so many seconds; now and then the user is away for longer."""
        while True:
            await self.read()
            nap = self._chance.uniform(*_NAP_SECONDS) if self._chance.random() < _NAPS else 0.0
            await asyncio.sleep(nap + every * self._chance.uniform(0.5, 1.5))

    @abstractmethod
    async def _read(self, worker: int | None) -> None: ...

    def _show(self, answer: Answer, asked: float, revision: int, *, cached: bool) -> None:
        history, self.shown = self._door.history, revision
        history.append(Read(self.name, self.tenant, answer.worker, asked, history.now(), revision, cached))


class TagClient(Client):
    """Asks for the list with `If-None-Match`, and shows what it holds on a 304: a browser, or any HTTP cache."""

    kind = "etag"

    async def _read(self, worker: int | None) -> None:
        asked, held = self._door.history.now(), self._held
        headers = {"If-None-Match": held.validator} if held else {}
        answer = await self._door.get(self.name, self.tenant, "labels", worker=worker, headers=headers)
        if answer is None:
            return
        if answer.response.status_code == 304 and held:
            self._show(answer, asked, held.revision, cached=True)
            return
        revision = revision_of(answer.response.json()["payload"])
        self._show(answer, asked, revision, cached=False)
        if answer.is_stored and (etag := answer.response.headers.get("etag")):
            self._held = Held(etag, revision)


class Watcher(TagClient):
    """Asks one worker from the moment on when a commit is acknowledged, until that worker shows it."""

    kind = WATCHER

    def __init__(self, number: int, tenant: int, door: Door, chance: random.Random, worker: int) -> None:
        super().__init__(number, tenant, door, chance)
        self._worker = worker

    async def watch(self, revision: int, until: float) -> None:
        """Read until a revision is shown, at first in quick succession."""
        pause = 0.01
        while self.shown < revision and self._door.history.now() < until:
            await self.read(self._worker)
            if self.shown < revision:
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, 0.5)


class KeysClient(Client):
    """Asks for the cache keys, compares, and fetches the list if the key differs: Chatwoot's front end.

    It files rows under the key that it read before it fetched them, as that does.
    """

    kind = "keys"

    async def _read(self, worker: int | None) -> None:
        asked = self._door.history.now()
        keys = await self._door.get(self.name, self.tenant, "cache_keys", worker=worker)
        key = _label_key(keys) if keys else None
        if keys and key and self._held and key == self._held.validator:
            self._show(keys, asked, self._held.revision, cached=True)
            return
        asked = self._door.history.now()
        answer = await self._door.get(self.name, self.tenant, "labels")
        if answer is None:
            return
        revision = revision_of(answer.response.json()["payload"])
        self._show(answer, asked, revision, cached=False)
        if key and answer.is_stored:
            self._held = Held(key, revision)


def _label_key(keys: Answer) -> str:
    body = keys.response.json()
    return f"{body['tag']} {body['cache_keys']['label']}"


def clients_of(tenant: int, door: Door, plan: Plan) -> list[Client]:
    """Return the clients that look at one tenant: two of each kind."""
    kinds: list[type[Client]] = [TagClient, KeysClient, TagClient, KeysClient]
    return [kind(tenant * 10 + at, tenant, door, _chance(plan, tenant, at)) for at, kind in enumerate(kinds)]


def watchers_of(tenant: int, door: Door, plan: Plan) -> list[Watcher]:
    """Return a watcher for each worker."""
    return [Watcher(tenant * 10 + at, tenant, door, _chance(plan, tenant, at), at) for at in range(plan.workers)]


def _chance(plan: Plan, *names: object) -> random.Random:
    return random.Random(f"{plan.seed} {names}")
