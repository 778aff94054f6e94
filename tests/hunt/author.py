"""Who writes one tenant's data, and has every worker watched until it shows what was written."""

import asyncio

from tests.hunt.clients import Watcher
from tests.hunt.door import Door
from tests.hunt.plan import Plan
from tests.hunt.worker.orders import Order


class Author:
    """Writes, and has the watchers look at once; they do so in the background, in `group`."""

    def __init__(self, tenant: int, door: Door, watchers: list[Watcher], plan: Plan, group: asyncio.TaskGroup) -> None:
        self.watchers = watchers
        self.tenant = tenant
        self._door = door
        self._plan = plan
        self._group = group
        self._watching: set[asyncio.Task[None]] = set()

    async def write(
        self, way: str, *, scene: str = "none", worker: int | None = None, order: Order | None = None
    ) -> bool:
        """Make a commit; return whether it was answered."""
        write = await self._door.write(self.tenant, way, scene=scene, worker=worker, order=order)
        if write.answered:
            until = write.known + self._plan.bound
            for watcher in self.watchers:
                task = self._group.create_task(watcher.watch(write.revision, until))
                self._watching.add(task)
                task.add_done_callback(self._watching.discard)
        return write.answered

    def look_no_more(self) -> None:
        """Have the watchers stop."""
        for task in self._watching:
            task.cancel()
