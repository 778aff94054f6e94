"""What is played on a stage: a write or two, and what is done to the servers meanwhile.

Each scene begins with clients that hold the present rows, and ends when the servers are well again. Then the stage is
left alone for longer than the bound: a client that has not learnt of the last commit by then never would have.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from tests.hunt.author import Author
from tests.hunt.clients import Client
from tests.hunt.door import Door
from tests.hunt.history import Fault
from tests.hunt.plan import LATE_FILL, Plan
from tests.hunt.topology import Topology
from tests.hunt.worker.orders import HEADER, Order

_PUSHED_WITHIN: Final = 0.2
_TRIES: Final = 5
_TRY_AGAIN_AFTER: Final = 0.3
_BEGIN_WITHIN: Final = 3.0

BEFORE_FOLD: Final = "worker killed between COMMIT and fold"
BEFORE_PUSH: Final = "worker killed between fold and push"
POSTGRES_RESTARTED: Final = "PostgreSQL restarted"
POSTGRES_FAILED_OVER: Final = "PostgreSQL failed over to its replica"


@dataclass
class Stage:
    """One tenant, those who read and write it, and the servers."""

    clients: list[Client]
    author: Author
    door: Door
    topology: Topology
    plan: Plan
    chance: random.Random
    servers: asyncio.Lock
    """Held by a scene that stops a server: one at a time. Workers die and stop at any time."""
    scene: str = field(default="", init=False)

    async def read(self) -> None:
        """Have all clients look."""
        await asyncio.gather(*(client.read() for client in self.clients))

    async def read_until_held(self) -> None:
        """Have all clients look until each holds rows; workers may be down, or say that nothing may be kept."""
        await self.read()
        while not all(client.holds_rows for client in self.clients):
            await asyncio.sleep(_TRY_AGAIN_AFTER)
            await self.read()

    async def commit(self, way: str) -> None:
        """Write until a commit is answered."""
        while not await self.write(way):
            await asyncio.sleep(_TRY_AGAIN_AFTER)

    async def write(self, way: str, *, worker: int | None = None, order: Order | None = None) -> bool:
        """Make a commit; return whether it was answered."""
        return await self.author.write(way, scene=self.scene, worker=worker, order=order)

    async def ask(self, worker: int, order: Order) -> None:
        """Have somebody ask for the list who shows it to nobody."""
        await self.door.get("passer-by", self.author.tenant, "labels", worker=worker, headers={HEADER: order})

    @asynccontextmanager
    async def nobody_reading(self) -> AsyncIterator[None]:
        """Keep all clients from reading, inside the block: nobody makes good what Redis does not know."""
        async with AsyncExitStack() as stack:
            for client in (*self.clients, *self.author.watchers):
                await stack.enter_async_context(client.turn)
            yield

    def any_way(self) -> str:
        """Return one of the ways in which the app writes."""
        return self.chance.choice(("patch", "post", "bulk"))

    def another_worker(self, worker: int) -> int:
        """Return the number of a worker that is not this one."""
        return self.chance.choice([number for number in range(self.plan.workers) if number != worker])

    def fault(self, kind: str, detail: str = "") -> None:
        """Note that something was done to a server."""
        self.door.history.append(Fault(kind, self.door.history.now(), detail))


Scene: TypeAlias = Callable[[Stage], Awaitable[None]]


async def two_edits_in_one_second(stage: Stage) -> None:
    """Two commits in one second, and a look between them."""
    await asyncio.sleep(1.0 - time.time() % 1.0)
    await stage.commit("patch")
    await stage.read()
    await stage.commit("patch")


async def bulk_update(stage: Stage) -> None:
    """One UPDATE through the session, past the unit of work."""
    await stage.commit("bulk")


async def raw_sql(stage: Stage) -> None:
    """SQL from outside the app."""
    await stage.commit("raw")


async def killed(stage: Stage, order: Order, *, kind: str, detail: str = "") -> None:
    """A worker is killed at a moment of its commit, after which others have to tell of it."""
    for _ in range(_TRIES):
        number = stage.door.any_worker()
        worker = stage.topology.workers[number]
        life = worker.life
        await stage.write("patch", worker=number, order=order)
        if life is not None and worker.life is not life:
            stage.fault(kind, detail)
            return
        # It was down, or left the work to a request that came before.
        await asyncio.sleep(_TRY_AGAIN_AFTER)


async def killed_at_random(stage: Stage) -> None:
    """A worker is killed in the middle of whatever it does."""
    worker = stage.door.any_worker()
    writing = asyncio.create_task(stage.write(stage.any_way(), worker=worker))
    await asyncio.sleep(stage.chance.uniform(0.0, 0.04))
    stage.topology.workers[worker].crash()
    stage.fault("worker killed at random")
    await writing


async def redis_emptied(stage: Stage) -> None:
    """Redis is killed, and comes back empty."""
    async with stage.servers:
        down = stage.chance.uniform(0.0, 2.0)
        stage.fault("Redis killed, back empty", f"down {down:.1f} s")
        emptying = asyncio.create_task(asyncio.to_thread(stage.topology.empty_redis, down))
        await asyncio.sleep(stage.chance.uniform(0.0, down))
        await stage.write("patch")
        await emptying


async def redis_failed_over(stage: Stage) -> None:
    """Redis fails, and a replica takes its place that has not heard of the last commits."""
    async with stage.servers:
        await asyncio.to_thread(stage.topology.cut_replica)
        await stage.write("patch")
        await stage.read()
        await asyncio.sleep(lag := stage.chance.uniform(0.0, stage.plan.max_stale / 2))
        stage.fault("Redis failed over to a lagging replica", f"{lag:.1f} s behind")
        await asyncio.to_thread(stage.topology.fail_over)


async def redis_stopped(stage: Stage, *, long: bool, die: bool = False) -> None:
    """Redis answers nothing for a while, in which there is a commit; its worker may be killed, too."""
    async with stage.servers:
        seconds = stage.chance.uniform(0.5, 1.5) + (stage.plan.max_stale if long else 0.0)
        stage.fault("Redis stopped", f"{seconds:.1f} s")
        until = stage.door.history.now() + seconds
        stage.topology.pause_redis()
        try:
            if die:
                await killed(stage, "die after-commit", kind=BEFORE_FOLD, detail="Redis stopped")
            else:
                await stage.write("patch")
            await asyncio.sleep(until - stage.door.history.now())
        finally:
            stage.topology.resume_redis()


async def worker_stopped(stage: Stage, *, long: bool) -> None:
    """A worker is stopped in the middle of its reads; there is a commit until it goes on."""
    number = stage.door.any_worker()
    worker = stage.topology.workers[number]
    reading = [asyncio.create_task(client.read(number)) for client in stage.clients]
    await asyncio.sleep(stage.chance.uniform(0.0, 0.02))
    seconds = stage.chance.uniform(0.3, 1.5) + (stage.plan.max_stale if long else 0.0)
    with worker.held():
        worker.pause()
        stage.fault("worker stopped", f"{seconds:.1f} s")
        await stage.write(stage.any_way(), worker=stage.another_worker(number))
        await asyncio.sleep(seconds)
    await asyncio.gather(*reading)


async def worker_stopped_with_a_token(stage: Stage, order: Order, *, long: bool) -> None:
    """A worker is stopped that has read a token for Redis, and goes on when that token is old and Redis has none."""
    seconds = stage.chance.uniform(0.0, 1.5) + (LATE_FILL + 2.0 if long else stage.plan.max_stale)
    async with stage.nobody_reading():
        for _ in range(_TRIES):
            number = stage.door.any_worker()
            worker = stage.topology.workers[number]
            with worker.held():
                asking = await _stopped(stage, number, order)
                if asking is not None:
                    stage.fault("worker stopped with an old token", f"{order}, {seconds:.1f} s")
                    await stage.write(stage.any_way(), worker=stage.another_worker(number))
                    await asyncio.sleep(seconds)
                    await asyncio.to_thread(stage.topology.evict, stage.author.tenant)
            if asking is not None:
                await asyncio.sleep(_PUSHED_WITHIN)
                break
            await asyncio.sleep(_TRY_AGAIN_AFTER)
    if asking is not None:
        await asking


async def _stopped(stage: Stage, number: int, order: Order) -> asyncio.Task[None] | None:
    """Return the request that a worker has in its hands, if it has stopped over it."""
    worker = stage.topology.workers[number]
    async with stage.servers:
        if worker.is_paused:  # by another scene
            return None
        await asyncio.to_thread(stage.topology.evict, stage.author.tenant)
        asking = asyncio.create_task(stage.ask(number, order))
        if await asyncio.to_thread(worker.wait_until_paused, partial(_is_open, asking)):
            return asking
    await asking
    return None


def _is_open(task: asyncio.Task[None]) -> bool:
    return not task.done()


async def postgres_ended(stage: Stage, *, kind: str, fails_over: bool) -> None:
    """PostgreSQL crashes during a commit, and recovers, or its replica takes its place."""
    async with stage.servers:
        writing = asyncio.create_task(stage.write(stage.any_way()))
        await asyncio.sleep(stage.chance.uniform(0.0, 0.03))
        stage.fault(kind)
        topology = stage.topology
        await asyncio.to_thread(topology.fail_over_postgres if fails_over else topology.restart_postgres)
        await writing
        await stage.write(stage.any_way())


SCENES: Final[dict[str, Scene]] = {
    "two edits in one second": two_edits_in_one_second,
    "bulk UPDATE": bulk_update,
    "raw SQL": raw_sql,
    "killed between COMMIT and fold": partial(killed, order="die after-commit", kind=BEFORE_FOLD),
    "killed between fold and push": partial(killed, order="die before-push", kind=BEFORE_PUSH),
    "killed at random": killed_at_random,
    "Redis emptied": redis_emptied,
    "Redis failed over": redis_failed_over,
    "Redis stopped": partial(redis_stopped, long=False),
    "Redis stopped for long": partial(redis_stopped, long=True),
    "Redis stopped and worker killed": partial(redis_stopped, long=False, die=True),
    "worker stopped": partial(worker_stopped, long=False),
    "worker stopped for long": partial(worker_stopped, long=True),
    "worker stopped after its look": partial(worker_stopped_with_a_token, order="stop after-look", long=False),
    "worker stopped long after its look": partial(worker_stopped_with_a_token, order="stop after-look", long=True),
    "worker stopped before its push": partial(worker_stopped_with_a_token, order="stop before-push", long=False),
    "worker stopped long before its push": partial(worker_stopped_with_a_token, order="stop before-push", long=True),
    "PostgreSQL restarted": partial(postgres_ended, kind=POSTGRES_RESTARTED, fails_over=False),
    "PostgreSQL failed over": partial(postgres_ended, kind=POSTGRES_FAILED_OVER, fails_over=True),
}

FAULTS: Final = (
    BEFORE_FOLD,
    BEFORE_PUSH,
    "worker killed at random",
    "worker stopped",
    "worker stopped with an old token",
    "Redis killed, back empty",
    "Redis failed over to a lagging replica",
    "Redis stopped",
    POSTGRES_RESTARTED,
    POSTGRES_FAILED_OVER,
)
"""All that is done to servers; a hunt that is long enough does each."""


def names_of(plan: Plan) -> list[str]:
    """Return the names of the scenes that are played."""
    return [name for name in SCENES if not any(word in name for word in plan.without)]


class Bag:
    """Gives the scenes in an order of chance, all of them before any comes again."""

    def __init__(self, plan: Plan, chance: random.Random) -> None:
        self._names = names_of(plan)
        self._chance = chance
        self._left: list[str] = []

    def draw(self) -> str:
        """Return the name of the next scene."""
        if not self._left:
            self._left = self._chance.sample(self._names, len(self._names))
        return self._left.pop()


async def play(stage: Stage, bag: Bag, until: float) -> None:
    """Play scenes on a stage, each followed by a rest: one at least, and more while there is time for the rest."""
    await asyncio.sleep(stage.chance.uniform(0.0, _BEGIN_WITHIN))
    while not stage.scene or stage.door.history.now() < until - stage.plan.rest:
        stage.scene = bag.draw()
        await stage.read_until_held()
        await SCENES[stage.scene](stage)
        await asyncio.sleep(stage.plan.rest)
