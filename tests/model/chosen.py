"""The protocol, and what it leaves open, in many settings; it holds in all of them."""

from typing import Final

from .cases import BULK, EVERY, MIXED, ONE, READS_AGAIN, TENANTS, TWO_READERS, Case, events, struck_by
from .properties import FRESH, HARMLESS, OLDER
from .switches import Fault, Protocol, Setting

_ALONE: Final[dict[Fault, frozenset[str]]] = {
    "writer crash": events(FRESH, OLDER, "crashes before its fold"),
    "fold crash": events(FRESH, OLDER, "crashes in its fold"),
    "abort": events(FRESH, "aborts"),
    "lost raise": events(FRESH, OLDER, "loses its raise"),
    "Redis emptied": events(FRESH, OLDER, "is emptied"),
    "Redis failover": events(FRESH, OLDER, "fails over"),
    "database crash": events(FRESH, OLDER, "loses what is newest"),
}
"""What each fault brings about: where a hit is answered older for a while, it is only until Redis expires."""

_ORDERS: Final = [
    Case(
        "two writers, two readers",
        Setting(readers=TWO_READERS),
        reaches=events(FRESH, "deletes its row", "deletes another's row", "deletes nothing", "looks the token up"),
    ),
    Case("three writers", Setting(writers=("row",) * 3), reaches=events(FRESH)),
    Case("three writers, two readers", Setting(writers=("row",) * 3, readers=TWO_READERS), large=True),
    Case("misses always fold", Setting(readers=TWO_READERS), Protocol(lookup="fold")),
    Case(
        "ids selected after the lock",
        Setting(readers=TWO_READERS),
        Protocol(delete="ids"),
        reaches=events(FRESH, "selects ids"),
    ),
]

_FAULTS: Final = [
    *(
        Case(f"one fault: {fault}", Setting(faults=struck_by(fault)), reaches=reached)
        for fault, reached in _ALONE.items()
    ),
    Case(
        "crashes and a sweeper",
        Setting(sweepers=1, faults=struck_by("writer crash", "fold crash"), most_faults=2),
        reaches=events(FRESH, OLDER, "sweeps"),
    ),
    Case("two faults of all", Setting(writers=ONE, readers=TWO_READERS, faults=EVERY, most_faults=2)),
    Case("two faults of all, two writers", Setting(faults=EVERY, most_faults=2), large=True),
    Case("three faults of all", Setting(writers=ONE, faults=EVERY, most_faults=3)),
    Case("four faults of all", Setting(writers=ONE, readers=((0, 3),), faults=EVERY, most_faults=4), large=True),
]

_TIME: Final = [
    Case(
        "time passes",
        Setting(writers=ONE, readers=TWO_READERS, ticks=4),
        reaches=events(FRESH, "ticks", "drops a late push"),
    ),
    Case("time passes, two writers", Setting(readers=((0, 1),), ticks=2, known=True)),
    Case("time passes, two writers, longer", Setting(ticks=4), large=True),
    Case("time passes and a fault", Setting(writers=ONE, faults=EVERY, ticks=4), reaches=events(FRESH, OLDER)),
    Case(
        "time passes and commits crash",
        Setting(writers=ONE, faults=HARMLESS, ticks=3),
        reaches=events(FRESH, OLDER),
    ),
    Case(
        "time passes and two writers' commits crash",
        Setting(readers=((0, 1),), faults=HARMLESS, ticks=2, known=True),
    ),
    Case("time passes and two faults", Setting(writers=ONE, faults=EVERY, most_faults=2, ticks=4), large=True),
]

_WHOLE_MODEL: Final = [
    Case(
        "whole model and a fault",
        Setting(writers=BULK, readers=TENANTS, faults=EVERY),
        reaches=events(FRESH, OLDER, "bumps all rows", "raises a chunk", "raises its last chunk"),
    ),
    Case("whole model and a row", Setting(writers=MIXED, readers=((0, 1),))),
    Case("whole model and a row, other tenant", Setting(writers=MIXED, readers=((1, 2),))),
    Case("whole model and a row, both tenants", Setting(writers=MIXED, readers=TENANTS), large=True),
    Case("whole model while time passes", Setting(writers=BULK, readers=TWO_READERS, ticks=2, known=True)),
    Case(
        "whole model and a row while time passes",
        Setting(writers=MIXED, readers=((0, 1),), ticks=2, known=True),
        large=True,
    ),
    Case("two whole models", Setting(writers=("bulk", "bulk"), readers=((0, 1),))),
]

_SHARED: Final = [
    Case(
        "shared before the first statement",
        Setting(writers=ONE, readers=READS_AGAIN, ticks=2),
        Protocol(shared="not started"),
        reaches=events(FRESH, "shares what another asked for"),
    ),
    Case(
        "shared before the first statement, whole model",
        Setting(writers=BULK, readers=READS_AGAIN, faults=struck_by("Redis emptied")),
        Protocol(shared="not started"),
        reaches=events(FRESH, "shares what another asked for"),
    ),
    Case(
        "shared before the DELETE, no whole model",
        Setting(writers=ONE, readers=READS_AGAIN, faults=struck_by("Redis emptied")),
        Protocol(shared="before delete"),
        reaches=events(FRESH, "shares what another asked for"),
    ),
    Case(
        "commits share before the DELETE",
        Setting(),
        Protocol(shared="before delete"),
        reaches=events(FRESH, "shares what another asked for"),
    ),
    Case("commits share before ids are selected", Setting(), Protocol(shared="before delete", delete="ids")),
    Case(
        "commits share before the DELETE, whole model",
        Setting(writers=MIXED, readers=TWO_READERS),
        Protocol(shared="before delete"),
        large=True,
    ),
]

_ELSEWHERE: Final = [
    Case("mirror", Setting(), Protocol(mirror="events"), reaches=events(FRESH, "hits the mirror", "is delivered")),
    Case("mirror loses its subscription", Setting(faults=struck_by("subscription lost")), Protocol(mirror="events")),
    Case(
        "replica, one snapshot",
        Setting(),
        Protocol(data="snapshot"),
        reaches=events(FRESH, "catches up", "files a snapshot", "gets no validator"),
    ),
    Case("replica, the token's statement first", Setting(), Protocol(data="statements")),
    Case(
        "database failover, one snapshot",
        Setting(writers=ONE, readers=((0, 3),), faults=struck_by("database failover"), most_faults=2),
        Protocol(data="snapshot"),
        reaches=events(FRESH, OLDER, "loses what is newest"),
    ),
    Case(
        "database failover, one snapshot, two writers",
        Setting(faults=struck_by("database failover")),
        Protocol(data="snapshot"),
        large=True,
    ),
    Case(
        "database failover and all, one snapshot",
        Setting(writers=ONE, faults=EVERY | {"database failover"}, most_faults=2),
        Protocol(data="snapshot"),
    ),
]

_REDIS_ALONE: Final = [
    Case("Redis alone", Setting(readers=TWO_READERS), Protocol(level="redis"), at_least=300, reaches=events(FRESH)),
    Case(
        "Redis alone, two faults",
        Setting(
            readers=TWO_READERS,
            faults=struck_by("writer crash", "abort", "Redis emptied", "Redis failover"),
            most_faults=2,
        ),
        Protocol(level="redis"),
        reaches=events(FRESH, OLDER),
    ),
]

CHOSEN: Final = [*_ORDERS, *_FAULTS, *_TIME, *_WHOLE_MODEL, *_SHARED, *_ELSEWHERE, *_REDIS_ALONE]
