"""What so many tenants ask of each engine: reckoned from what was measured on small ones, and from what is assumed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

STEPS: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)

_FORMULAS: Final = """\
- Redis, memory: `active tenants * (hash + first subscription + further ones)`. A tenant's events are heard by as many
  processes as it has requests in a minute, at the most.
- Redis, CPU: `requests * peek`, as if no process were asked for a tenant twice within `mirrored_for`, so that mirrors
  spare it nothing; `+ look-ups * (peek in vain + raise of all models)`; `+ commits * (raise of one + deliveries)`, one
  delivery after the other.
- PostgreSQL, CPU: `active tenants / max_stale * look-up + commits * (note + fold)`, none of them shared. The look-up is
  the one among most rows; all pages were in memory.
- PostgreSQL, space: `tenants * models * (row + its place in the index)`.
- Redis at level 1: `tenants * hash`, as if each were asked for within `expiry`, 72 hours."""


@dataclass(frozen=True)
class Assumed:
    """The load: what nobody can measure for an app that is not there yet."""

    models: int = 3
    active: float = 0.01
    """The share of tenants that are asked for within a minute."""
    requests: float = 6.0
    """Requests of an active tenant in a minute, each of which is answered by any process."""
    commits: float = 0.5
    """Commits of an active tenant in a minute, each of which touches one model."""
    of_process: float = 1_000.0
    """Requests a second that one process answers, all that it does besides included."""
    mirrored: int = 10_000
    """Tenants that one process mirrors at the most (`mirrored_tenants`)."""
    max_stale: float = 60.0
    """Seconds that a copy lives."""
    busy: float = 0.5
    """How much of a core is given to Redis before the tenants are shared among more of them."""


@dataclass(frozen=True)
class Costs:
    """What was measured: bytes, and µs of CPU."""

    redis_bytes: float
    redis_first_subscription: float
    redis_subscription: float
    redis_peek: float
    redis_miss: float
    redis_raise: float
    redis_raise_one: float
    redis_delivery: float
    postgres_bytes: float
    postgres_look_up: float
    postgres_fold: float
    postgres_note: float

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Self:
        """Return those of all figures that are reckoned with."""
        return cls(**{field.name: figures[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Step:
    """What so many tenants come to, at level 2."""

    tenants: int
    active: float
    requests: float
    """Those of a second, and so the most reads of copies, where no process is asked for a tenant twice."""
    look_ups: float
    """Those of a second in the database: one for each active tenant and `max_stale`."""
    commits: float
    processes: int
    listeners: float
    """Processes that hear a tenant's events."""
    redis_bytes: float
    redis_cores: float
    primaries: int
    level_1_bytes: float
    """What Redis holds at level 1, if every tenant is asked for within `expiry`."""
    postgres_bytes: float
    postgres_cores: float


def step(tenants: int, costs: Costs, assumed: Assumed) -> Step:
    """Return what so many tenants come to."""
    active = tenants * assumed.active
    requests, commits = active * assumed.requests / 60, active * assumed.commits / 60
    look_ups = active / assumed.max_stale
    processes = max(2, math.ceil(requests / assumed.of_process))
    listeners = min(processes, assumed.requests, processes * assumed.mirrored / active)
    subscriptions = costs.redis_first_subscription + max(listeners - 1, 0) * costs.redis_subscription
    redis_cores = (
        requests * costs.redis_peek
        + look_ups * (costs.redis_miss + costs.redis_raise)
        + commits * (costs.redis_raise_one + listeners * costs.redis_delivery)
    ) / 1_000_000
    postgres_cores = (
        look_ups * costs.postgres_look_up + commits * (costs.postgres_note + costs.postgres_fold)
    ) / 1_000_000
    return Step(
        tenants,
        active,
        requests,
        look_ups,
        commits,
        processes,
        listeners,
        redis_bytes=active * (costs.redis_bytes + subscriptions),
        redis_cores=redis_cores,
        primaries=max(1, math.ceil(redis_cores / assumed.busy)),
        level_1_bytes=tenants * costs.redis_bytes,
        postgres_bytes=tenants * assumed.models * costs.postgres_bytes,
        postgres_cores=postgres_cores,
    )


def told(costs: Costs, assumed: Assumed | None = None) -> list[str]:
    """Return, as Markdown, the steps of the ladder, what is assumed, and how it is reckoned."""
    assumed = assumed or Assumed()
    steps = [step(tenants, costs, assumed) for tenants in STEPS]
    return [
        "#### Extrapolated, not measured",
        _table(("tenants", *(f"{each.tenants:,}" for each in steps)), _rows(steps)),
        _assumptions(assumed),
    ]


def _rows(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    return [
        ("asked for within a minute", *(f"{each.active:,.0f}" for each in steps)),
        ("requests a second", *(_rate(each.requests) for each in steps)),
        ("processes", *(f"{each.processes:,}" for each in steps)),
        ("Redis at level 2: memory", *(_bytes(each.redis_bytes) for each in steps)),
        ("Redis at level 2: CPU", *(_cores(each.redis_cores) for each in steps)),
        ("Redis at level 2: shards", *("one Redis" if each.primaries == 1 else f"{each.primaries}" for each in steps)),
        ("Redis at level 1: memory", *(_bytes(each.level_1_bytes) for each in steps)),
        ("PostgreSQL: version rows and index", *(_bytes(each.postgres_bytes) for each in steps)),
        ("PostgreSQL: look-ups a second", *(_rate(each.look_ups) for each in steps)),
        ("PostgreSQL: folds a second", *(_rate(each.commits) for each in steps)),
        ("PostgreSQL: CPU", *(_cores(each.postgres_cores) for each in steps)),
    ]


def _assumptions(assumed: Assumed) -> str:
    load = (
        f"Assumed: {assumed.models} models; {assumed.active:.0%} of the tenants are asked for within a minute, each "
        f"{assumed.requests:g} times, by any process; each commits {assumed.commits:g} times a minute and touches one "
        f"model; a process answers {assumed.of_process:,.0f} requests a second; `max_stale` is {assumed.max_stale:g} "
        f"s; a Redis is given {assumed.busy:.0%} of a core. Reckoned:"
    )
    return f"{load}\n\n{_FORMULAS}"


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    first = list(head)
    lines = [first, ["---", *["--:"] * (len(first) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bytes(figure: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if figure >= size:
            return f"{_figure(figure / size)} {unit}"
    return f"{figure:.0f} B"


def _cores(figure: float) -> str:
    if figure >= 1:
        return f"{_figure(figure)} cores"
    return f"{_figure(figure * 100)} % of one" if figure >= 0.001 else "< 0.1 % of one"


def _rate(figure: float) -> str:
    return _figure(figure) if figure >= 1 else "< 1"


def _figure(figure: float) -> str:
    """Return two digits that mean something: more would be a lie."""
    digits = 1 - math.floor(math.log10(figure))
    rounded = round(figure, digits)
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}"
