"""One hunt: starts the servers, lets clients, writers and scenes loose, and writes down what happens."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.hunt.author import Author
from tests.hunt.clients import clients_of, watchers_of
from tests.hunt.door import WAYS, Door
from tests.hunt.history import Event, History
from tests.hunt.plan import Plan
from tests.hunt.progress import Progress
from tests.hunt.scenes import Bag, Stage, play
from tests.hunt.topology import Topology, Worker

SCHEMES: Final = {"library": "tests.hunt.worker.library:app", "control": "tests.hunt.worker.control:app"}

_THREADS: Final = 32
_WRITE_EVERY: Final = 0.4
_LOOK_EVERY: Final = 0.05


def hunt(plan: Plan, scheme: str, path: Path, say: Callable[[str], None], *, say_every: float = 5.0) -> list[Event]:
    """Hunt a scheme; return what happened, which is written down at `path`, too, with the workers' logs beside it."""
    with Topology(plan, SCHEMES[scheme]) as topology, History(path) as history:
        try:
            asyncio.run(_hunt(plan, topology, history, say, say_every))
        finally:
            topology.keep_logs(path)
        return history.events


async def _hunt(plan: Plan, topology: Topology, history: History, say: Callable[[str], None], say_every: float) -> None:
    # Most threads only wait, for a server that starts say; by default there are few.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    door = Door(topology.workers, topology.dsn, history, random.Random(f"{plan.seed} door"))
    clients = {tenant: clients_of(tenant, door, plan) for tenant in plan.tenants}
    every = sum(map(len, clients.values())) / plan.reads_per_second
    bag, servers, over = Bag(plan, random.Random(f"{plan.seed} scenes")), asyncio.Lock(), asyncio.Event()
    progress = Progress(plan, history)
    async with asyncio.TaskGroup() as group:
        authors = {
            tenant: Author(tenant, door, watchers_of(tenant, door, plan), plan, group) for tenant in plan.tenants
        }
        chances = {tenant: random.Random(f"{plan.seed} tenant {tenant}") for tenant in plan.tenants}
        stages = [
            Stage(clients[tenant], authors[tenant], door, topology, plan, chances[tenant], servers)
            for tenant in plan.quiet
        ]
        nurses = [group.create_task(_keep_alive(worker, over)) for worker in topology.workers]
        endless = [
            group.create_task(work)
            for work in (
                *(client.keep_reading(every) for of_tenant in clients.values() for client in of_tenant),
                *(_keep_writing(authors[tenant], chances[tenant]) for tenant in plan.hot),
                _keep_saying(progress, say, say_every),
            )
        ]
        await asyncio.gather(*(play(stage, bag, plan.seconds) for stage in stages))
        over.set()
        await asyncio.gather(*nurses)
        for task in endless:
            task.cancel()
        for author in authors.values():
            author.look_no_more()
    say(progress.line())
    await door.aclose()


async def _keep_alive(worker: Worker, over: asyncio.Event) -> None:
    while not over.is_set():
        if worker.has_died:
            await asyncio.to_thread(worker.revive)
        worker.resume_unless_held()
        await asyncio.sleep(_LOOK_EVERY)


async def _keep_writing(author: Author, chance: random.Random) -> None:
    while True:
        await author.write(chance.choice(WAYS))
        await asyncio.sleep(_WRITE_EVERY * chance.uniform(0.0, 2.0))


async def _keep_saying(progress: Progress, say: Callable[[str], None], every: float) -> None:
    while True:
        await asyncio.sleep(every)
        say(progress.line())
