"""The variants that were refuted, each in a setting in which it fails."""

from typing import Final

from .cases import BULK, EVERY, MIXED, ONE, READS_AGAIN, TWO_READERS, Case, events, struck_by
from .folds import BACKWARD, LOST
from .outcome import MISS_OLDER
from .properties import FOR_GOOD, RETURNED, TOO_LONG
from .switches import Protocol, Setting

REFUTED: Final = [
    Case("fold without the row lock", Setting(), Protocol(lock="none"), LOST),
    Case("fold without the row lock, backward", Setting(asked=events(BACKWARD)), Protocol(lock="none"), BACKWARD),
    Case("SKIP LOCKED", Setting(readers=TWO_READERS), Protocol(lock="skipped"), RETURNED),
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
    Case("raise before COMMIT", Setting(faults=struck_by("fold crash")), Protocol(raised="before COMMIT"), RETURNED),
    Case("raise only if something was deleted", Setting(), Protocol(raised="if deleted"), RETURNED),
    Case(
        "bump before commit",
        Setting(),
        Protocol(level="redis", write="bump first"),
        RETURNED,
        instead=Protocol(level="redis"),
    ),
    Case("token read after data", Setting(asked=events(FOR_GOOD)), Protocol(read="data first"), FOR_GOOD),
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
        Setting(known=True, asked=events(FOR_GOOD)),
        Protocol(write="insert-only"),
        FOR_GOOD,
    ),
    Case(
        "outbox relayed by id watermark",
        Setting(asked=events(FOR_GOOD)),
        Protocol(relay="watermark"),
        FOR_GOOD,
    ),
    Case(
        "lease that ends before a slow commit",
        Setting(known=True, faults=struck_by("writer crash")),
        Protocol(write="lease"),
        FOR_GOOD,
    ),
    Case("no expiry in Redis", Setting(faults=struck_by("lost raise")), Protocol(expiry="never"), FOR_GOOD),
    Case(
        "expiry refreshed by other models",
        Setting(writers=ONE, faults=struck_by("lost raise"), ticks=4, others=True),
        Protocol(shelf="shared"),
        TOO_LONG,
    ),
    # So much the more where the tenant's models share one hash, which any of them may have made long before.
    Case(
        "expiry set when made: late fill",
        Setting(writers=ONE, readers=TWO_READERS, ticks=2),
        Protocol(expiry="set when made"),
        RETURNED,
    ),
    Case(
        "expiry set when made: late push",
        Setting(readers=((0, 1),), ticks=2, known=True),
        Protocol(expiry="set when made"),
        RETURNED,
    ),
    Case(
        "late fills kept",
        Setting(writers=ONE, readers=TWO_READERS, ticks=4),
        Protocol(late="kept"),
        TOO_LONG,
    ),
    Case(
        "reads under way are not raised by events",
        Setting(),
        Protocol(mirror="events", reading="as answered"),
        RETURNED,
        instead=Protocol(mirror="events"),
    ),
    Case(
        "events make entries in the mirror",
        Setting(),
        Protocol(mirror="events make entries"),
        RETURNED,
        instead=Protocol(mirror="events"),
    ),
    Case("mirror raised to a guess", Setting(), Protocol(mirror="guess"), RETURNED, instead=Protocol(mirror="events")),
    Case(
        "primary's token, replica's data",
        Setting(asked=events(FOR_GOOD)),
        Protocol(data="replica"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "database failover, token from elsewhere",
        Setting(writers=ONE, faults=struck_by("database failover")),
        breaks=FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "database failover, two statements",
        Setting(writers=ONE, faults=struck_by("database failover")),
        Protocol(data="statements"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "database failover, a validator while a row is pending",
        Setting(writers=ONE, faults=struck_by("database failover")),
        Protocol(data="snapshot", validator="always"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case(
        "Redis filled from a replica",
        Setting(writers=ONE, ticks=2, known=True, asked=events(RETURNED)),
        Protocol(filled="from a replica"),
        RETURNED,
    ),
    Case(
        "clock alone, database failover",
        Setting(writers=ONE, faults=struck_by("database failover")),
        Protocol(mint="clock", data="snapshot"),
        FOR_GOOD,
        instead=Protocol(data="snapshot"),
    ),
    Case("clock alone, folds lost", Setting(faults=struck_by("database crash")), Protocol(mint="clock"), FOR_GOOD),
    Case(
        "clock alone, Redis failover",
        Setting(faults=struck_by("Redis failover")),
        Protocol(level="redis", mint="clock"),
        FOR_GOOD,
        instead=Protocol(level="redis"),
    ),
    Case(
        "whole model by plain UPDATE in the transaction",
        Setting(writers=BULK, readers=((1, 1), (1, 1)), asked=events(FOR_GOOD)),
        Protocol(whole="plain UPDATE"),
        FOR_GOOD,
    ),
    Case("max(epoch, row)", Setting(writers=MIXED), Protocol(whole="epoch"), LOST),
    Case(
        "whole model deletes hashes",
        Setting(writers=BULK, readers=TWO_READERS),
        Protocol(whole_pushed="deleted"),
        RETURNED,
    ),
    Case(
        "lookup that sees no pending rows",
        Setting(writers=ONE, known=True, ticks=2),
        Protocol(lookup="blind"),
        MISS_OLDER,
    ),
    Case(
        "a miss is answered the larger, folds lost",
        Setting(writers=ONE, faults=EVERY, most_faults=3),
        Protocol(answers="the larger"),
        MISS_OLDER,
    ),
    Case(
        "shared after its snapshot",
        Setting(writers=ONE, readers=READS_AGAIN, faults=struck_by("Redis emptied")),
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
        Setting(writers=BULK, readers=READS_AGAIN, faults=struck_by("Redis emptied")),
        Protocol(shared="before delete"),
        MISS_OLDER,
        instead=Protocol(shared="not started"),
    ),
]
