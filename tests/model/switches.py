"""What can be switched: each choice of the protocol, and how much of the world a search has.

The first value of every `Literal` is the protocol's own, and the default: a refuted variant is one `Protocol` argument.
"""

from dataclasses import dataclass
from typing import Literal

Fault = Literal[
    "writer crash",  # between COMMIT and its fold
    "fold crash",  # at any later step: the database aborts what was open
    "abort",  # of the transaction with the data
    "lost raise",
    "Redis emptied",
    "Redis failover",
    "database crash",  # loses folds alone, by synchronous_commit=off
    "database failover",  # loses acknowledged commits
    "subscription lost",
]

Writer = Literal["row", "bulk"]
"""`row` touches the first tenant's model, and knows so; `bulk` touches every tenant's, and inserts a `'*'` row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The chosen protocol at its durable level; each argument makes it another one."""

    level: Literal["durable", "redis"] = "durable"

    mint: Literal["clock and digits", "clock", "seconds"] = "clock and digits"
    """The clock stands still or has passed everything, as the search likes; the last four digits never come twice."""

    missing: Literal["minted", "constant"] = "minted"

    write: Literal["pending", "insert-only", "lease", "bump first"] = "pending"

    lock: Literal["waited for", "none", "skipped"] = "waited for"

    snapshot: Literal["after lock", "before lock", "of lock"] = "after lock"
    """When the fold sees version and pending rows; `of lock`: one statement locks and deletes."""

    delete: Literal["visible", "ids", "ids from before lock", "key, as seen before lock"] = "visible"

    relay: Literal["delete", "watermark"] = "delete"

    raised: Literal["after COMMIT", "before COMMIT", "if deleted"] = "after COMMIT"

    whole: Literal["pending", "plain UPDATE", "epoch"] = "pending"

    whole_pushed: Literal["raised", "deleted"] = "raised"

    shelf: Literal["own", "shared"] = "own"
    """What expires as one in Redis: each token by itself, or all of a tenant's, other models' among them."""

    expiry: Literal["set when the token grows", "set when made", "never"] = "set when the token grows"
    """On a shared shelf the first of them is refreshed by other models' tokens."""

    answers: Literal["its own", "the larger"] = "its own"
    """With what a miss is answered: the token that it looked up, or Redis's when that is larger."""

    late: Literal["dropped", "kept"] = "dropped"

    read: Literal["token first", "data first"] = "token first"

    lookup: Literal["fast", "fold", "blind"] = "fast"
    """What a miss does first: one SELECT for version and pending rows, nothing, or one for the version row alone."""

    data: Literal["primary", "snapshot", "statements", "replica"] = "primary"
    """Where rows come from: after the token, from the primary; with their token, from one snapshot of a replica or in
    two statements on it; or from a replica, under the primary's token."""

    validator: Literal["if nothing is pending", "always"] = "if nothing is pending"
    """What a session on a replica gives an answer that sees a pending row."""

    filled: Literal["from the primary", "from a replica"] = "from the primary"

    shared: Literal["no", "not started", "before delete", "started"] = "no"
    """What of another's fold or lookup a commit or a miss may take part in: one that has run no statement yet, one
    that has not begun to look for pending rows of its own tenant, or any."""

    mirror: Literal["no", "events", "guess", "events make entries"] = "no"

    reading: Literal["raised", "as answered"] = "raised"
    """What the mirror comes to hold of a read during which an event came: the larger token, or the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How much happens: every interleaving of it is searched."""

    writers: tuple[Writer, ...] = ("row", "row")
    readers: tuple[tuple[int, int], ...] = ((0, 2),)
    """For each reader: the tenant, and how many requests."""

    sweepers: int = 0
    ticks: int = 0
    """How often time passes; see `world.LIFE` for what it is measured in."""

    faults: frozenset[Fault] = frozenset()
    most_faults: int = 1
    others: bool = False
    """Whether commits to another model of the tenant make the hash that a read of ours misses in."""

    asked: frozenset[str] = frozenset()
    """The properties to check, all if empty: one alone shows that a variant breaks it, be it not the nearest."""

    known: bool = False
    """Whether the version rows are there from the start."""
