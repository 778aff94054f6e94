"""The parts of the benchmark, in the order in which they run."""

import importlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from benchmarks.bench import Bench
from benchmarks.results import Part

PARTS: Final[Mapping[str, str]] = {
    "conditional": "conditional",
    "chain": "chain",
    "unmatched": "unmatched",
    "redis": "redis_calls",
    "commits": "commits",
    "writers": "writers",
    "visibility": "visibility",
    "push": "push.part",
    "growth": "growth",
    "scale": "scale.part",
}
"""Their names, and their modules; a module is imported when its part runs, because each has its own needs."""

HTTP: Final = frozenset({"conditional", "chain"})
"""Those whose contestants are in the line-up of `conditional`, with environments of their own."""


def load(name: str) -> Callable[[Bench], Coroutine[Any, Any, Part]]:
    """Return what runs a part."""
    module: Any = importlib.import_module(f"benchmarks.{PARTS[name]}")
    run: Callable[[Bench], Coroutine[Any, Any, Part]] = module.measure
    return run
