"""How costs grow: with the models of a route, the tenants that there are, and the routes that are declared."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from tests.support.servers import RedisServer

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.contestants.asgi import Rows
from benchmarks.contestants.desk import PATH, PATTERN
from benchmarks.contestants.ours import authorize
from benchmarks.requests import AppClient, not_modified
from benchmarks.results import Growth, Part, Point
from benchmarks.rounds import Operation, Samples, interleave, timed
from cache_revalidate import CacheRevalidateMiddleware, Connection, MemoryStore, RedisStore, Revalidator, Store

NAME = "growth"
TITLE = "How costs grow"

_MODELS = (1, 5, 10, 20, 50)
_TENANTS = (1, 100, 10_000, 100_000)
_ROUTES = (1, 10, 50, 100, 250, 500)
_REPEATED = 50
"""Requests for each operation of the size: one takes some microseconds."""

_ANSWERED = "304 within the process"
_UNMATCHED = "a request that matches none"
_BUMPED = "one bump in Redis"

_Make = Callable[[int], Awaitable[Operation]]


async def measure(bench: Bench) -> Part:
    """Measure all sizes of a kind interleaved."""
    bench.progress.begin(NAME)
    with cores.on(cores.OTHERS):
        server = RedisServer().start()
    try:
        stores: list[RedisStore] = []

        async def bump(models: int) -> Operation:
            stores.append(RedisStore.from_url(server.url))
            revalidator = Revalidator(_names(models), stores[-1], namespace=f"bench-{models}")
            return lambda: revalidator.reset(1)

        growths = [
            await _grown(
                bench, "with the models of a route", "models", _MODELS, {_ANSWERED: _with_models, _BUMPED: bump}
            ),
            await _grown(
                bench,
                "with the tenants in memory",
                "tenants",
                [size for size in _TENANTS if size <= bench.size.largest],
                {_ANSWERED: _with_tenants},
            ),
            await _grown(
                bench, "with the declared routes", "routes", _ROUTES, {_ANSWERED: _last_route, _UNMATCHED: _no_route}
            ),
        ]
        for store in stores:
            await store.aclose()
    finally:
        server.close()
    return Part(NAME, TITLE, growths=growths)


async def _grown(bench: Bench, title: str, size: str, sizes: Iterable[int], kinds: Mapping[str, _Make]) -> Growth:
    sizes = list(sizes)
    lines: dict[str, Sequence[Point]] = {}
    for kind, make in kinds.items():
        if kind == _BUMPED:
            how = (bench.size.operations * 5, time.perf_counter_ns)
        else:
            how = (bench.size.operations * _REPEATED, time.process_time_ns)
        contestants = {str(each): timed(await make(each), *how) for each in sizes}
        samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
        lines[f"{kind} ({samples.spread(str(sizes[0])).median:.1f} µs with {sizes[0]})"] = _points(samples, sizes)
    return Growth(title, size, lines, f"growth-{size}")


def _points(samples: Samples, sizes: list[int]) -> list[Point]:
    return [Point(size, samples.ratio(str(size), str(sizes[0]))) for size in sizes]


def _names(models: int) -> list[str]:
    return [f"model_{number}" for number in range(models)]


def _app(
    models: list[str], routes: Mapping[str, list[str]], store: Store | None = None
) -> CacheRevalidateMiddleware[Connection]:
    revalidator = Revalidator(models, store)
    return CacheRevalidateMiddleware(Rows(), revalidator=revalidator, authorize=authorize, routes=routes)


async def _with_models(models: int) -> Operation:
    names = _names(models)
    return await not_modified(_app(names, {PATTERN: names}))


async def _with_tenants(tenants: int) -> Operation:
    store = MemoryStore()
    filling = Revalidator(["label"], store)
    for tenant in range(1, tenants + 1):
        await filling.tokens(tenant)
    return await not_modified(_app(["label"], {PATTERN: ["label"]}, store))


def _with_routes(routes: int) -> CacheRevalidateMiddleware[Connection]:
    kinds = [f"kind_{number}" for number in range(1, routes)] + ["labels"]
    return _app(["label"], {PATTERN.replace("labels", kind): ["label"] for kind in kinds})


async def _last_route(routes: int) -> Operation:
    return await not_modified(_with_routes(routes))


async def _no_route(routes: int) -> Operation:
    return AppClient(_with_routes(routes), PATH.replace("labels", "unknown")).send
