"""What a protocol and a setting come to: who takes part, which bits are whose, and the first state."""

from collections.abc import Callable, Iterator
from typing import Final

from .switches import Protocol, Setting
from .tokens import mint
from .world import Copy, Database, Process, World

IDLE: Final = "idle"
OPEN: Final = "open"  # a writer's transaction, written to and not committed
EARLY: Final = "early"  # the same, about to bump before it commits
BUMP: Final = "bump"  # committed; goes on to bump without a fold
READING: Final = "reading"  # has its answer from Redis, which the mirror does not hold yet
ASKED: Final = "asked"  # missed; its lookup has not begun
FOLD: Final = "fold"  # wants a fold, whose first statement has not begun
STAR_LOCK: Final = "star lock"
STAR_DELETE: Final = "star delete"
STAR_ROWS: Final = "star rows"
STAR_UPDATE: Final = "star update"
LOCK: Final = "lock"
DELETE: Final = "delete"
IDS: Final = "ids"
COMMIT: Final = "commit"
RAISE: Final = "raise"
RIDES: Final = "rides"  # waits for another's fold or lookup
DATA: Final = "data"  # has its token, wants its rows
ROWS: Final = "rows"  # has read the one of the two, wants the other
DONE: Final = "done"

IN_TRANSACTION: Final = frozenset({STAR_DELETE, STAR_ROWS, STAR_UPDATE, LOCK, DELETE, IDS, COMMIT})

Event = tuple[str, World]
Steps = Callable[["Model", World, int, Process], Iterator[Event]]


class Model:
    """A protocol in a setting."""

    def __init__(self, protocol: Protocol, setting: Setting) -> None:
        self.protocol = protocol
        self.setting = setting
        self.faults = setting.faults
        kinds = setting.writers
        self.writers = len(kinds)
        self.star = sum(1 << writer for writer, kind in enumerate(kinds) if kind == "bulk")
        rows = sum(1 << writer for writer, kind in enumerate(kinds) if kind == "row")
        self.tenants = 1 + max([tenant for tenant, _ in setting.readers] + [int(bool(self.star))])
        self.own = (rows, *[0] * (self.tenants - 1))
        self.touching = tuple(own | self.star for own in self.own)
        """The writes that change a tenant's data."""
        self.tenant = tuple([0] * self.writers + [tenant for tenant, _ in setting.readers] + [0] * setting.sweepers)
        self.names = tuple(
            [f"{kind} writer {number}" for number, kind in enumerate(kinds)]
            + [f"reader {number}" for number in range(len(setting.readers))]
            + [f"sweeper {number}" for number in range(setting.sweepers)]
        )
        self.readers = range(self.writers, self.writers + len(setting.readers))
        self.star_lock = 1 << self.tenants
        self.lags = (
            (protocol.data, protocol.filled) != ("primary", "from the primary")
            or "database crash" in self.faults
            or "database failover" in self.faults
        )

    def start(self) -> World:
        """Return the state before anything has happened."""
        none = (0,) * self.tenants
        first = mint(self.protocol, 0, 0)[0]
        versions = (first,) * self.tenants if self.setting.known else none
        database = Database(versions=versions)
        redis = (Copy(),) * self.tenants
        processes = [Process(IDLE)] * self.writers
        processes += [Process(IDLE, left) for _, left in self.setting.readers]
        processes += [Process(IDLE, 1)] * self.setting.sweepers
        return World(
            database=database,
            standby=database,
            redis=redis,
            redis_standby=redis,
            processes=tuple(processes),
            filed=((),) * self.tenants,
            used=tuple(1 << version if version else 0 for version in versions),
            ages=(0,) * self.writers,
            since=((),) * self.writers,
        )

    def unfolded(self, database: Database, tenant: int) -> int:
        """Return the pending rows that a statement sees for a tenant, its own and those of '*'."""
        return database.pending >> database.watermark << database.watermark & self.touching[tenant]

    def is_bulk(self, process: int) -> bool:
        """Tell whether a process is a writer that doesn't know its tenants."""
        return bool(1 << process & self.star)


def answer(database: Database, tenant: int) -> int:
    """Return the token that the database holds for a tenant, 0 if none."""
    version = database.versions[tenant]
    return max(version, database.epoch) if version else 0


def answers(database: Database) -> tuple[int, ...]:
    """Return all tokens that the database holds."""
    return tuple(answer(database, tenant) for tenant in range(len(database.versions)))


def put(world: World, number: int, process: Process) -> World:
    """Return the world with one process changed."""
    processes = world.processes
    return world._replace(processes=(*processes[:number], process, *processes[number + 1 :]))


def replaced(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    """Return the tuple with one value changed."""
    return (*values[:index], value, *values[index + 1 :])
