"""Shows where a request's time goes, step by step: microseconds of CPU, and instructions of the interpreter.

`make profile` runs it. The microseconds are medians of rounds in which each step takes its turn, in a loop that keeps
everything warm: beside other work, as in a server, each step costs more. The instructions are the same every time.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.counting import Count, count
from benchmarks.hot_path import PREFIX, Desk, agent, app, asking, drop, receive, run
from cache_revalidate.access import asked_viewer
from cache_revalidate.declaration import Declaration

_ROUNDS = 25
_REPEATED = 4_000
_PATH = f"{PREFIX}/1/list0"

Contestants = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Cost:
    """What one contestant takes."""

    microseconds: float
    counted: Count


def measure(contestants: Contestants) -> dict[str, Cost]:
    """Time and count each contestant; the call of a function that does nothing is taken off."""
    turns: Contestants = {"": _nothing, **contestants}
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(_ROUNDS):
        for name, contestant in turns.items():
            started = time.process_time_ns()
            for _ in range(_REPEATED):
                contestant()
            times[name].append((time.process_time_ns() - started) / _REPEATED / 1_000)
    idle = statistics.median(times.pop(""))
    return {name: Cost(statistics.median(taken) - idle, count(contestants[name])) for name, taken in times.items()}


def steps() -> Contestants:
    """Return the steps of a 304, in order, each as the middleware takes it; the last is the whole request."""
    desk = Desk()
    middleware, revalidator = desk.middleware, desk.revalidator
    whole = desk.request(_PATH, holding=True)
    etag = desk.etag(_PATH)
    scope = asking(_PATH, etag)
    match = middleware._table.match(_PATH)
    assert match is not None
    declaration = match.target
    assert isinstance(declaration, Declaration)
    models = revalidator.known_models(["label"])
    tokens = revalidator.held("1", models)
    assert tokens is not None
    _, _, resource = declaration._questions.of(scope)
    freshness = declaration._freshness("1", "ann", resource, tokens)
    answer = freshness.not_modified(etag)
    assert answer is not None
    return {
        "make the scope, as the server does": lambda: asking(_PATH, etag),
        "find the route of a path that is known": lambda: middleware._table.match(_PATH),
        "tell the tenant": lambda: match.tenant(revalidator.tenant),
        "ask the app's `authorize`, and what that takes": lambda: asked_viewer(
            agent, middleware.connection_class(scope), "1"
        ),
        "read the header in one pass": lambda: declaration._questions.of(scope),
        "look the tokens up in memory": lambda: revalidator.held("1", models),
        "find what follows from them": lambda: declaration._freshness("1", "ann", resource, tokens),
        "compare the tag, find the 304": lambda: freshness.not_modified(etag),
        "make two new messages": lambda: answer.messages("GET"),
        "the whole request": whole,
    }


def kinds() -> Contestants:
    """Return a request of each kind, and the app alone."""
    desk = Desk()
    return {
        "the app alone": lambda: run(app(asking(_PATH), receive, drop)),
        "unmatched": desk.request(f"{PREFIX}/1/conversations", holding=False),
        "passed on and marked (200)": desk.request(_PATH, holding=False),
        "not modified (304)": desk.request(_PATH, holding=True),
        "keys (200)": desk.request(f"{PREFIX}/1/cache_keys", holding=False),
        "keys not modified (304)": desk.request(f"{PREFIX}/1/cache_keys", holding=True),
    }


def table(title: str, costs: Mapping[str, Cost]) -> str:
    """Return the costs as a Markdown table."""
    lines = [f"| {title} | µs | bytecodes | functions | coroutines |", "|---|---|---|---|---|"]
    for name, cost in costs.items():
        counted = cost.counted
        numbers = (f"{cost.microseconds:.2f}", counted.bytecodes, counted.functions.total(), counted.coroutines)
        lines.append(f"| {name} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {version}; bytecodes, functions and coroutines are those of the library alone.\n")
    print(table("a request, in all", measure(kinds())), end="\n\n")
    of_steps = measure(steps())
    whole = of_steps.pop("the whole request")
    rest = _rest(whole, of_steps.values())
    print(table("a 304, step by step", {**of_steps, "go from step to step, and send": rest, "all of it": whole}))


def _rest(whole: Cost, parts: Iterable[Cost]) -> Cost:
    functions = whole.counted.functions.copy()
    bytecodes, microseconds = whole.counted.bytecodes, whole.microseconds
    for part in parts:
        functions.subtract(part.counted.functions)
        bytecodes -= part.counted.bytecodes
        microseconds -= part.microseconds
    return Cost(microseconds, Count(bytecodes, functions, whole.counted.coroutines))


def _nothing() -> None:
    """Take as long as a call."""


if __name__ == "__main__":
    main()
