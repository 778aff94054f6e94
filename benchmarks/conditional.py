"""What a conditional GET that is answered 304 costs the server's CPU, against a bare ASGI callable and the peers."""

import time

from benchmarks import lineup
from benchmarks.bench import Bench, ServerName
from benchmarks.contestants.desk import AUTHORIZATION
from benchmarks.contestants.ours import authorize
from benchmarks.field import Field
from benchmarks.results import Goal, Part, Table, compared
from benchmarks.rounds import Samples, interleave, timed
from cache_revalidate import Connection

NAME = "conditional"
TITLE = "A conditional GET, answered 304: the server's CPU"


ONE = 1
"""Connections: the server waits for each request, as it mostly does. The goals are for this."""
SATURATING = 10
"""Connections: the server never waits, which spares it most of the kernel's part, and so all ratios grow."""


async def measure(bench: Bench) -> Part:
    """Measure on each server."""
    part = Part(NAME, TITLE)
    for server in bench.size.servers:
        bench.progress.begin(f"{NAME}, {server}")
        with Field(bench, lineup.CONDITIONAL, server) as field:
            idle = await field.measure(connections=ONE)
            busy = await field.measure(connections=SATURATING, only=lineup.BUSY)
        part.missing += field.missing
        part.tables += [
            _table(idle, f"304 on {server}, one connection", f"conditional-{server}"),
            _table(busy, f"304 on {server}, {SATURATING} connections, saturated", f"conditional-{server}-saturated"),
        ]
        part.goals += _goals(idle, server)
    part.notes.append(await _cost_of_authorize(bench))
    return part


async def _cost_of_authorize(bench: Bench) -> str:
    """Say what the rule costs that most of ours are measured with, which the goal allows 3 µs."""
    scope = {"headers": [(b"host", b"127.0.0.1"), (b"authorization", AUTHORIZATION.encode()), (b"if-none-match", b"")]}

    async def ask() -> None:
        assert authorize(Connection(scope), "1") == "ann"

    cost = await interleave(
        {"authorize": timed(ask, 1_000, time.process_time_ns)}, rounds=bench.size.rounds, progress=bench.progress
    )
    return (
        f"`authorize`, where it is not a JWT's or a session's, looks a header up in a dict: "
        f"{cost.spread('authorize').median:.1f} µs."
    )


def _table(samples: Samples, title: str, name: str) -> Table:
    return compared(
        title,
        samples,
        lineup.BARE,
        unit="µs CPU",
        name=name,
        ours=[each.name for each in lineup.CONDITIONAL if each.is_ours],
        notes={each.name: each.note for each in lineup.CONDITIONAL},
    )


def _goals(samples: Samples, server: ServerName) -> list[Goal]:
    of = f"304, {server}, against"
    wanted = [
        (lineup.OURS, lineup.BARE, f"{of} a bare ASGI callable", 1.15, False),
        (lineup.OURS_REDIS, lineup.BARE, f"{of} a bare ASGI callable, tokens in Redis", 1.15, False),
        (lineup.OURS_DURABLE, lineup.BARE, f"{of} a bare ASGI callable, durable", 1.15, False),
        (lineup.ROWS, lineup.OURS, f"{of} 50 rows through SQLAlchemy, times less", 45.0, True),
        (lineup.FASTAPI_CACHE2, lineup.OURS, f"{of} fastapi-cache2, times less", 5.0, True),
        (lineup.MGET, lineup.OURS, f"{of} one Redis MGET, times less", 4.0, True),
    ]
    return [
        Goal(what, limit, samples.ratio(name, base).median, at_least=at_least)
        for name, base, what, limit, at_least in wanted
        if {name, base} <= set(samples.names)
    ]
