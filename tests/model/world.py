"""One state of everything: database, Redis, mirror, clients, and the processes between them.

Data is a set of writes, one bit for each writer: rows are *older* when they lack a committed bit. So are pending rows:
the one that writer 1 has inserted is bit 1.
"""

from typing import Final, NamedTuple

EVERYTHING: Final = -1
"""All bits: what the clients hold who hold nothing under a token."""

LIFE: Final = 2
"""Ticks that a token lives in Redis (`max_stale`)."""

LIMIT: Final = 1
"""Ticks after which a fill or push is dropped; it must be less than LIFE."""

BOUND: Final = LIFE + LIMIT
"""Ticks after which no hit may be older: what was seen right before the commit is pushed at the last moment."""


class Database(NamedTuple):
    """What is committed."""

    data: int = 0
    pending: int = 0
    versions: tuple[int, ...] = (0,)
    """A token for each tenant, 0 where the version row is missing."""

    epoch: int = 0
    watermark: int = 0


class Copy(NamedTuple):
    """What Redis has for a tenant; its age, in ticks, is -1 while there is nothing."""

    token: int = 0
    age: int = -1


class Filed(NamedTuple):
    """What clients hold under one token: the bits that all of them have, and those that any has."""

    token: int
    common: int
    joint: int


class Process(NamedTuple):
    """A writer, a reader or a sweeper: where it stands, and what it has in hand."""

    at: str
    left: int = 0
    need: int = 0
    """The data that was committed when the request came."""

    token: int = 0
    took: int = 0
    """Pending rows that its open transaction has deleted."""

    new: tuple[int, ...] = ()
    """The version rows as its open transaction has written them, 0 where it has not; later: what it pushes."""

    epoch: int = 0
    held: int = 0
    """Row locks: a bit for each tenant's version row, and one more for the '*' row."""

    seen: int = 0
    """What an earlier statement saw."""

    age: int = 0
    """Ticks since the statement that saw the token."""

    leader: int = -1
    """Whose fold or lookup this one shares."""


class World(NamedTuple):
    """One state."""

    database: Database
    standby: Database
    redis: tuple[Copy, ...]
    redis_standby: tuple[Copy, ...]
    processes: tuple[Process, ...]
    filed: tuple[tuple[Filed, ...], ...]
    used: tuple[int, ...]
    """Tokens that somebody may know, one bit each; for each tenant."""

    ages: tuple[int, ...]
    """Ticks since each write was committed."""

    since: tuple[tuple[int, ...], ...]
    """For each writer whose pending row is there: the tokens when it was committed."""

    returned: int = 0
    """Writers whose commit() has returned after a fold and a raise."""

    told: int = 0
    """Writers of whom the mirror's process has heard."""

    mirror: int = 0
    event: tuple[int, int] = (0, 0)
    """What is published and not delivered: the largest token, and the writers."""

    leases: int = 0
    ticks: int = 0
    faults: int = 0
    alarm: str | None = None
    """What a step has done that must never be done."""
