"""What is checked: the protocol in many settings, and every refuted variant in one where it fails."""

from dataclasses import dataclass
from typing import Final, get_args

from .folds import BACKWARD, LOST
from .outcome import MISS_OLDER
from .properties import FOR_GOOD, RETURNED, TOO_LONG
from .switches import Fault, Protocol, Setting, Writer

_ONE: Final[tuple[Writer, ...]] = ("row",)
_BULK: Final[tuple[Writer, ...]] = ("bulk",)
_TWO_READERS: Final = ((0, 1), (0, 1))
_READS_AGAIN: Final = ((0, 2), (0, 1))
_TENANTS: Final = ((0, 1), (1, 1))

_EVERY: Final[frozenset[Fault]] = frozenset(get_args(Fault)) - {"database failover", "subscription lost"}
"""All that strike the durable level where the database keeps what it has acknowledged."""


def _faults(*faults: Fault) -> frozenset[Fault]:
    return frozenset(faults)


@dataclass(frozen=True, slots=True)
class Case:
    """One search."""

    name: str
    setting: Setting
    protocol: Protocol = Protocol()
    breaks: str | None = None
    """The property that does not hold."""

    instead: Protocol = Protocol()
    """What holds in the same setting; it differs by one switch."""

    reaches: frozenset[str] = frozenset()
    """Events that must come about, or the search would prove nothing."""

    at_least: int = 3_000
    """How many states there must be, for the same reason."""

    large: bool = False
    """Whether it takes longer than the tests of every day may."""


_ALONE: Final = [
    Case(f"one fault: {fault}", Setting(faults=_faults(fault))) for fault in get_args(Fault) if fault in _EVERY
]

CHOSEN: Final = [
    Case("two writers, two readers", Setting(readers=_TWO_READERS)),
    Case("three writers", Setting(writers=("row",) * 3)),
    Case("three writers, two readers", Setting(writers=("row",) * 3, readers=_TWO_READERS), large=True),
    *_ALONE,
    Case(
        "crashes and a sweeper",
        Setting(sweepers=1, faults=_faults("writer crash", "fold crash"), most_faults=2),
    ),
    Case(
        "two faults of all",
        Setting(writers=_ONE, readers=_TWO_READERS, faults=_EVERY, most_faults=2),
    ),
    Case("two faults of all, two writers", Setting(faults=_EVERY, most_faults=2), large=True),
    Case("three faults of all", Setting(writers=_ONE, faults=_EVERY, most_faults=3)),
    Case("time passes", Setting(writers=_ONE, readers=_TWO_READERS, ticks=4)),
    Case("time passes, two writers", Setting(readers=((0, 1),), ticks=3, known=True)),
    Case("time passes and a fault", Setting(writers=_ONE, faults=_EVERY, ticks=4)),
    Case("whole model", Setting(writers=_BULK, readers=_TENANTS, faults=_EVERY)),
    Case("whole model and a row", Setting(writers=("row", "bulk"), readers=((0, 1),))),
    Case("whole model and a row, other tenant", Setting(writers=("row", "bulk"), readers=((1, 2),))),
    Case("whole model and a row, both tenants", Setting(writers=("row", "bulk"), readers=_TENANTS), large=True),
    Case("two whole models", Setting(writers=("bulk", "bulk"), readers=((0, 1),))),
    Case("misses always fold", Setting(readers=_TWO_READERS), Protocol(lookup="fold")),
    Case("ids selected after the lock", Setting(readers=_TWO_READERS), Protocol(delete="ids")),
    Case(
        "shared before the first statement",
        Setting(writers=_ONE, readers=_READS_AGAIN, ticks=2),
        Protocol(shared="not started"),
    ),
    Case(
        "shared before the first statement, whole model",
        Setting(writers=_BULK, readers=_READS_AGAIN, faults=_faults("Redis emptied")),
        Protocol(shared="not started"),
    ),
    Case(
        "shared before the DELETE",
        Setting(writers=_ONE, readers=_READS_AGAIN, ticks=2),
        Protocol(shared="before delete"),
    ),
    Case(
        "commits share before the DELETE",
        Setting(readers=((0, 2),)),
        Protocol(shared="before delete"),
    ),
    Case("mirror", Setting(), Protocol(mirror="events")),
    Case("mirror loses its subscription", Setting(faults=_faults("subscription lost")), Protocol(mirror="events")),
    Case("replica, one snapshot", Setting(), Protocol(data="snapshot")),
    Case("replica, token's statement first", Setting(), Protocol(data="statements")),
    Case(
        "database failover, one snapshot",
        Setting(faults=_faults("database failover")),
        Protocol(data="snapshot"),
    ),
    Case(
        "database failover and all, one snapshot",
        Setting(writers=_ONE, faults=_EVERY | {"database failover"}, most_faults=2),
        Protocol(data="snapshot"),
    ),
    Case("Redis alone", Setting(readers=_TWO_READERS), Protocol(level="redis"), at_least=400),
    Case(
        "Redis alone, two faults",
        Setting(
            readers=_TWO_READERS,
            faults=_faults("writer crash", "abort", "Redis emptied", "Redis failover"),
            most_faults=2,
        ),
        Protocol(level="redis"),
    ),
]

REFUTED: Final = [
    Case("fold without the row lock", Setting(), Protocol(lock="none"), LOST),
    Case("fold without the row lock, backward", Setting(asked=frozenset({BACKWARD})), Protocol(lock="none"), BACKWARD),
    Case("SKIP LOCKED", Setting(readers=_TWO_READERS), Protocol(lock="skipped"), RETURNED),
    Case("snapshot from before the lock", Setting(), Protocol(snapshot="before lock"), BACKWARD),
    Case(
        "one statement locks and deletes, shared before it ends",
        Setting(),
        Protocol(snapshot="of lock", shared="before delete"),
        RETURNED,
        instead=Protocol(shared="before delete"),
    ),
    Case(
        "ids selected before the lock, shared before the DELETE",
        Setting(),
        Protocol(delete="ids from before lock", shared="before delete"),
        RETURNED,
        instead=Protocol(shared="before delete", delete="ids"),
    ),
    Case("deletes by key what it saw before the lock", Setting(), Protocol(delete="key, as seen before lock"), LOST),
    Case("raise before COMMIT", Setting(faults=_faults("fold crash")), Protocol(raised="before COMMIT"), RETURNED),
    Case("raise only if something was deleted", Setting(), Protocol(raised="if deleted"), RETURNED),
    Case(
        "bump before commit",
        Setting(),
        Protocol(level="redis", write="bump first"),
        RETURNED,
        instead=Protocol(level="redis"),
    ),
    Case("token read after data", Setting(asked=frozenset({FOR_GOOD})), Protocol(read="data first"), FOR_GOOD),
    Case(
        "constant for a missing token",
        Setting(),
        Protocol(level="redis", missing="constant"),
        FOR_GOOD,
        instead=Protocol(level="redis"),
    ),
    Case(
        "seconds, in Redis",
        Setting(),
        Protocol(level="redis", mint="seconds"),
        RETURNED,
        instead=Protocol(level="redis"),
    ),
    Case("seconds, in the database", Setting(), Protocol(mint="seconds"), LOST),
    Case(
        "insert-only tokens, read by max()",
        Setting(known=True, asked=frozenset({FOR_GOOD})),
        Protocol(write="insert-only"),
        FOR_GOOD,
    ),
    Case(
        "outbox relayed by id watermark",
        Setting(asked=frozenset({FOR_GOOD})),
        Protocol(relay="watermark"),
        FOR_GOOD,
    ),
    Case(
        "lease that ends before a slow commit",
        Setting(known=True, faults=_faults("writer crash")),
        Protocol(write="lease"),
        FOR_GOOD,
    ),
    Case("no expiry in Redis", Setting(faults=_faults("lost raise")), Protocol(expiry="never"), FOR_GOOD),
    Case(
        "expiry refreshed by other models",
        Setting(writers=_ONE, faults=_faults("lost raise"), ticks=4, others=True),
        Protocol(shelf="shared"),
        TOO_LONG,
    ),
    Case(
        "one hash for all models, its expiry set when made: late fill",
        Setting(writers=_ONE, readers=_TWO_READERS, ticks=4, others=True),
        Protocol(shelf="shared", expiry="set when made"),
        RETURNED,
    ),
    Case(
        "expiry set when made: late fill",
        Setting(writers=_ONE, readers=_TWO_READERS, ticks=4),
        Protocol(expiry="set when made"),
        RETURNED,
    ),
    Case(
        "expiry set when made: late push",
        Setting(readers=((0, 1),), ticks=3, known=True),
        Protocol(expiry="set when made"),
        RETURNED,
    ),
    Case(
        "late fills kept",
        Setting(writers=_ONE, readers=_TWO_READERS, ticks=4),
        Protocol(late="kept"),
        TOO_LONG,
    ),
    Case("mirror raised to a guess", Setting(), Protocol(mirror="guess"), RETURNED, instead=Protocol(mirror="events")),
    Case(
        "primary's token, replica's data",
        Setting(asked=frozenset({FOR_GOOD})),
        Protocol(data="replica"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "database failover, token from elsewhere",
        Setting(writers=_ONE, faults=_faults("database failover")),
        breaks=FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "database failover, two statements",
        Setting(writers=_ONE, faults=_faults("database failover")),
        Protocol(data="statements"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "clock alone, database failover",
        Setting(faults=_faults("database failover")),
        Protocol(mint="clock", data="snapshot"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case("clock alone, folds lost", Setting(faults=_faults("database crash")), Protocol(mint="clock"), FOR_GOOD),
    Case(
        "clock alone, Redis failover",
        Setting(faults=_faults("Redis failover")),
        Protocol(level="redis", mint="clock"),
        FOR_GOOD,
        instead=Protocol(level="redis"),
    ),
    Case(
        "whole model by plain UPDATE in the transaction",
        Setting(writers=_BULK, readers=((1, 1), (1, 1)), asked=frozenset({FOR_GOOD})),
        Protocol(whole="plain UPDATE"),
        FOR_GOOD,
    ),
    Case("max(epoch, row)", Setting(writers=("row", "bulk")), Protocol(whole="epoch"), LOST),
    Case(
        "whole model deletes hashes",
        Setting(writers=_BULK, readers=_TWO_READERS),
        Protocol(whole_pushed="deleted"),
        RETURNED,
    ),
    Case(
        "lookup that sees no pending rows",
        Setting(writers=_ONE, known=True, ticks=2),
        Protocol(lookup="blind"),
        MISS_OLDER,
    ),
    Case(
        "a miss is answered the larger, folds lost",
        Setting(writers=_ONE, faults=_EVERY, most_faults=3),
        Protocol(answers="the larger"),
        MISS_OLDER,
    ),
    Case(
        "shared after its snapshot",
        Setting(writers=_ONE, readers=_READS_AGAIN, faults=_faults("Redis emptied")),
        Protocol(shared="started"),
        MISS_OLDER,
        instead=Protocol(shared="not started"),
    ),
    Case(
        "commit shares after the DELETE",
        Setting(readers=((0, 2),)),
        Protocol(shared="started"),
        RETURNED,
        instead=Protocol(shared="before delete"),
    ),
    Case(
        "shared before the DELETE, whole model",
        Setting(writers=_BULK, readers=_READS_AGAIN, faults=_faults("Redis emptied")),
        Protocol(shared="before delete"),
        MISS_OLDER,
        instead=Protocol(shared="not started"),
    ),
]
