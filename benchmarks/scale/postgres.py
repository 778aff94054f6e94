"""One PostgreSQL with fsync: what a version row weighs, what look-ups and folds take, how pending rows come and go."""

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.support.servers import PostgresServer, RedisServer

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.results import Growth, Point, Row, Table
from benchmarks.rounds import Contestant, Samples, Spread, interleave
from benchmarks.scale.measured import MODELS, Measured, a_second, models_of, once
from cache_revalidate import EVERY_TENANT, RedisStore
from cache_revalidate.stores.base import Keyspace
from cache_revalidate_sqlalchemy import DurableStore, add_tables
from cache_revalidate_sqlalchemy.ledger import _snapshot
from cache_revalidate_sqlalchemy.tables import PENDING, VERSIONS, Tables

_KEYSPACE = Keyspace("cache_revalidate", 259_200.0)
_FIRST = 1_000_000
_TOGETHER = 100
"""Tenants that one fold takes together: as many as a sweep does."""
_NAP = 5
"""Seconds between two looks of autovacuum; a minute by default."""
_SETTINGS = {"fsync": "on", "autovacuum_naptime": f"{_NAP}s", "max_wal_size": "4GB"}

_LOOK_UP = f"a look-up, {models_of(MODELS)}"
_FOLD = "a fold of 1 tenant"
_FOLD_TOGETHER = f"a fold of {_TOGETHER} tenants together, each"
_NOTE = "a note in a transaction of its own"

_INSERT = """
INSERT INTO {versions} (namespace, model, tenant, token)
SELECT '{namespace}', model, tenant,
       (extract(epoch FROM now()) * 1000000 - random() * 1000000000)::bigint::text
       || lpad((random() * 9999)::int::text, 4, '0')
FROM (SELECT tenant::text FROM generate_series({first}, {last}) AS tenant ORDER BY random()) AS tenants,
     unnest('{{{models}}}'::text[]) AS model
"""
_NOTES = """
INSERT INTO {pending} (namespace, model, tenant) SELECT '{namespace}', 'label', unnest('{{{tenants}}}'::text[])
"""
_CHURN = f"""
CREATE PROCEDURE churn(seconds double precision) LANGUAGE plpgsql AS $$
DECLARE
  until timestamptz := clock_timestamp() + make_interval(secs => seconds);
  noted bigint;
BEGIN
  WHILE clock_timestamp() < until LOOP
    INSERT INTO {PENDING} (namespace, model, tenant)
    VALUES ('{_KEYSPACE.namespace}', 'label', ({_FIRST} + (random() * 100000)::int)::text) RETURNING id INTO noted;
    COMMIT;
    DELETE FROM {PENDING} WHERE id = noted;
    COMMIT;
  END LOOP;
END $$
"""  # noqa: S608


async def measure(bench: Bench) -> Measured:
    """Measure a PostgreSQL with a core to itself, as its version table grows."""
    bench.progress.begin("scale: one PostgreSQL")
    found = Measured()
    smallest, middle, largest = (max(bench.size.largest * times // 10, 300) for times in (1, 100, 1_000))
    with cores.on(cores.OTHERS):
        with cores.on(cores.MEASURED):
            server = PostgresServer(settings=_SETTINGS).start()
        try:
            async with _database(server) as database:
                look_ups: dict[int, Samples] = {}
                depths = {}
                for rows in (smallest, middle):
                    bench.progress.say(f"{rows:,} version rows")
                    await database.grow(rows)
                    look_ups[rows] = await _look_ups(bench, database)
                    depths[rows] = await database.depth()
                await _weigh(database, found)
                await _fold(bench, database, found)
                await _churn(bench, database, found)
                await _tell_updates(database, found)
                await _bump_every_tenant(bench, database, found)
                bench.progress.say(f"{largest:,} version rows")
                await database.grow(largest, in_bulk=True)
                look_ups[largest] = await _look_ups(bench, database)
                depths[largest] = await database.depth()
                _tell_look_ups(look_ups, depths, found)
        finally:
            server.close()
    return found


@dataclass
class _Database:
    """The version table and the pending table, in a database of their own."""

    server: PostgresServer
    engine: AsyncEngine
    tables: Tables
    store: DurableStore
    rows: int = 0

    @property
    def tenants(self) -> int:
        """How many there are."""
        return self.rows // len(MODELS)

    async def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        async with self.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                await connection.exec_driver_sql(statement)

    async def value(self, query: str) -> Any:
        """Return the one value that a query answers."""
        async with self.engine.connect() as connection:
            return await connection.scalar(text(query))

    async def grow(self, rows: int, *, in_bulk: bool = False) -> None:
        """Insert version rows as they are minted: tenants in any order, each with all models."""
        insert = _INSERT.format(
            versions=VERSIONS,
            namespace=_KEYSPACE.namespace,
            first=_FIRST + self.tenants,
            last=_FIRST + rows // len(MODELS) - 1,
            models=",".join(MODELS),
        )
        key = "(namespace, model, tenant)"
        before = [f"ALTER TABLE {VERSIONS} DROP CONSTRAINT {VERSIONS}_pkey", f"ALTER TABLE {VERSIONS} SET UNLOGGED"]
        after = [f"ALTER TABLE {VERSIONS} ADD PRIMARY KEY {key}"]
        await self.execute(
            *(before if in_bulk else []), insert, *(after if in_bulk else []), f"VACUUM ANALYZE {VERSIONS}"
        )
        self.rows = rows

    async def depth(self) -> int:
        """Return how many levels the index of the version table has."""
        return int(await self.value(f"SELECT level + 1 FROM bt_metap('{VERSIONS}_pkey')"))  # noqa: S608

    async def pages(self) -> int:
        """Return how many pages a look-up of one tenant touches."""
        tenant = self.any()
        query = _snapshot(self.tables.versions, self.tables.pending).params(
            tenant=tenant, tenants=[tenant, EVERY_TENANT], models=MODELS, namespace=_KEYSPACE.namespace
        )
        literal = query.compile(self.engine.sync_engine, compile_kwargs={"literal_binds": True})
        plan = await self.value(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {literal}")
        top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
        return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

    def any(self) -> str:
        """Return any tenant."""
        return str(_FIRST + random.randrange(self.tenants))  # noqa: S311

    def some(self, times: int) -> list[str]:
        """Return some tenants, no two of them the same."""
        return [str(_FIRST + number) for number in random.sample(range(self.tenants), min(times, self.tenants))]


@asynccontextmanager
async def _database(server: PostgresServer) -> AsyncIterator[_Database]:
    engine = create_async_engine(server.url("asyncpg", server.create_database()))
    metadata = MetaData()
    tables = add_tables(metadata)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.exec_driver_sql("CREATE EXTENSION pageinspect")
        await connection.exec_driver_sql(_CHURN)
    try:
        yield _Database(server, engine, tables, DurableStore(engine, tables))
    finally:
        await engine.dispose()


def _cost(database: _Database, times: int, prepare: "_Prepare", run: "_Run") -> Contestant:
    """Return the contestant whose sample is the CPU time of the server's processes for each tenant, in µs."""

    async def sample() -> float:
        tenants = database.some(times)
        await prepare(tenants)
        before = cpu_seconds(database.server.process_id)
        await run(tenants)
        return (cpu_seconds(database.server.process_id) - before) / len(tenants) * 1_000_000

    return sample


_Prepare = Callable[[list[str]], Awaitable[object]]
_Run = Callable[[list[str]], Awaitable[object]]


async def _look_ups(bench: Bench, database: _Database) -> Samples:
    async def run(tenants: Iterable[str]) -> None:
        for tenant in tenants:
            await database.store.read(_KEYSPACE, tenant, MODELS)

    contestant = _cost(database, bench.size.operations * 20, _nothing, run)
    return await interleave({_LOOK_UP: contestant}, rounds=bench.size.rounds, progress=bench.progress)


async def _nothing(_: list[str]) -> None:
    pass


def _tell_look_ups(look_ups: dict[int, Samples], depths: dict[int, int], found: Measured) -> None:
    smallest = next(iter(look_ups.values())).spread(_LOOK_UP).median
    rows, points = [], []
    for size, samples in look_ups.items():
        taken = samples.spread(_LOOK_UP)
        name = f"{_LOOK_UP}, among {size:,} version rows"
        rows.append(Row(name, taken, None, note=f"index of {depths[size]} levels, {a_second(taken.median)}"))
        points.append(Point(size, _ratio(taken, smallest)))
        found.figures["postgres_look_up"] = taken.median
    found.tables.insert(0, Table("One PostgreSQL: look-ups", "µs of CPU", rows, ""))
    found.growths.append(
        Growth("with the version rows", "rows", {f"PostgreSQL's CPU for {_LOOK_UP}": points}, "scale-postgres-rows")
    )


def _ratio(taken: Spread, base: float) -> Spread:
    """Return what was taken as a ratio to what was measured at another time: a table can't have two sizes at once."""
    return Spread(taken.median / base, taken.least / base, taken.most / base)


async def _weigh(database: _Database, found: Measured) -> None:
    table = await database.value(f"SELECT pg_table_size('{VERSIONS}')") / database.rows
    index = await database.value(f"SELECT pg_indexes_size('{VERSIONS}')") / database.rows
    of_tenant = (table + index) * len(MODELS)
    found.tables.append(
        once(
            f"One PostgreSQL: {database.rows:,} version rows, minted in any order",
            "bytes",
            {"a row": table, "its place in the index": index, f"a tenant, {models_of(MODELS)}": of_tenant},
            {f"a tenant, {models_of(MODELS)}": f"a million of them: {of_tenant / 1e3:,.2f} GB"},
        )
    )
    pages = await database.pages()
    found.tables.append(once("One PostgreSQL: pages that are touched", "pages", {_LOOK_UP: pages}))
    found.figures["postgres_bytes"] = table + index


async def _fold(bench: Bench, database: _Database, found: Measured) -> None:
    """Measure folds, a look-up of the same moment, and the note that a bump without a transaction of its own makes."""
    store, times = database.store, bench.size.operations * 10

    async def note(tenants: Iterable[str]) -> None:
        await database.execute(_NOTES.format(pending=PENDING, namespace=_KEYSPACE.namespace, tenants=",".join(tenants)))

    async def look_up(tenants: Iterable[str]) -> None:
        for tenant in tenants:
            await store.read(_KEYSPACE, tenant, MODELS)

    async def fold(tenants: Iterable[str]) -> None:
        for tenant in tenants:
            await store.fold(_KEYSPACE, {tenant: ["label"]})

    async def fold_together(tenants: list[str]) -> None:
        for start in range(0, len(tenants), _TOGETHER):
            await store.fold(_KEYSPACE, {tenant: ["label"] for tenant in tenants[start : start + _TOGETHER]})

    async def note_alone(tenants: Iterable[str]) -> None:
        ledger = store._ledger(_KEYSPACE)
        for tenant in tenants:
            changes = {tenant: ["label"]}
            await store.engines.run(lambda connection: ledger.note_alone(connection, changes))  # noqa: B023

    contestants = {
        _LOOK_UP: _cost(database, times, _nothing, look_up),
        _FOLD: _cost(database, times, note, fold),
        _FOLD_TOGETHER: _cost(database, max(times, _TOGETHER), note, fold_together),
        _NOTE: _cost(database, times, _nothing, note_alone),
    }
    samples = await interleave(contestants, rounds=bench.size.rounds, progress=bench.progress)
    notes = {name: a_second(samples.spread(name).median) for name in samples.names}
    rows = [
        Row(name, samples.spread(name), samples.ratio(name, _LOOK_UP), is_ours=True, note=notes[name])
        for name in samples.names
    ]
    found.tables.append(
        Table(f"One PostgreSQL: folds among {database.rows:,} version rows", "µs of CPU", rows, "scale-postgres")
    )
    of = {name: samples.spread(name).median for name in samples.names}
    found.figures |= {"postgres_fold": of[_FOLD], "postgres_fold_together": of[_FOLD_TOGETHER]}
    found.figures["postgres_note"] = of[_NOTE]


async def _churn(bench: Bench, database: _Database, found: Measured) -> None:
    """Note and fold as fast as one connection can, and look at what the pending table comes to."""
    seconds = max(bench.size.largest / 100_000 * 3.5 * _NAP, 1.0)
    bench.progress.say(f"pending rows come and go for {seconds:.0f} s")
    await database.execute(f"TRUNCATE {PENDING}", f"VACUUM {PENDING}")
    first = await _noted(database)
    sizes: list[tuple[int, int]] = []
    began = time.monotonic()
    churning = asyncio.create_task(
        database.execute("SET synchronous_commit = off", f"CALL churn({seconds})", "RESET synchronous_commit")
    )
    while not churning.done():
        await asyncio.wait([churning], timeout=0.25)
        size = int(await database.value(f"SELECT pg_total_relation_size('{PENDING}')"))
        sizes.append((await _noted(database) - first, size))
    await churning
    rate = sizes[-1][0] / (time.monotonic() - began)
    # Until the first vacuum each row takes new space. Later ones take what it has given back.
    noted, size = next(each for each in sizes if each[0])
    most = max(size for _, size in sizes)
    await database.execute(f"VACUUM {PENDING}")
    left = int(await database.value(f"SELECT pg_total_relation_size('{PENDING}')"))
    figures = {
        "bytes that a pending row leaves until the next vacuum": size / noted,
        f"MB at the most, under {rate:,.0f} rows a second for {seconds:.0f} s, autovacuum every {_NAP} s": most / 1e6,
        "MB after a last vacuum": left / 1e6,
    }
    found.tables.append(once("One PostgreSQL: the pending table, into which rows come and go", "", figures))
    found.figures |= {"postgres_pending_bytes": size / noted}


async def _tell_updates(database: _Database, found: Measured) -> None:
    """Say how many of the folds' updates left the index alone: those that found room in their row's page."""
    query = f"SELECT 100.0 * n_tup_hot_upd / nullif(n_tup_upd, 0) FROM pg_stat_user_tables WHERE relname = '{VERSIONS}'"  # noqa: S608
    figures = {"leave the index as it is, the pages being full": float(await database.value(query) or 0)}
    found.tables.append(once("One PostgreSQL: of the folds' updates, so many", "%", figures))


async def _noted(database: _Database) -> int:
    return int(await database.value(f"SELECT last_value FROM {PENDING}_id_seq"))  # noqa: S608


async def _bump_every_tenant(bench: Bench, database: _Database, found: Measured) -> None:
    """Bump a model of every tenant: in the database alone, then with copies in Redis, which are all raised."""
    before = int(await database.value(f"SELECT pg_total_relation_size('{VERSIONS}')"))
    taken = {}
    with cores.on(cores.MEASURED):
        redis = RedisServer().start()
    try:
        copies = RedisStore.from_url(redis.url, timeout=30.0)
        for name, copy in (("no copies", None), ("copies in Redis", copies)):
            bench.progress.say(f"a bump of {database.tenants:,} tenants, {name}")
            _forget_most_memory()
            resident, began = _memory("VmRSS"), time.monotonic()
            await DurableStore(database.engine, database.tables, copy).bump(_KEYSPACE, {EVERY_TENANT: ["label"]})
            million = 1_000_000 / database.tenants
            taken[name] = (time.monotonic() - began) * million, (_memory("VmHWM") - resident) * million
        await copies.aclose()
    finally:
        redis.close()
    after = int(await database.value(f"SELECT pg_total_relation_size('{VERSIONS}')"))
    (alone, memory), (copied, _) = taken.values()
    figures = {
        "seconds, no copies": alone,
        "seconds, copies in Redis": copied,
        "MB of memory of the process that folds": memory / 1e6,
        "times the size of the version table, after the two of them": after / before,
    }
    title = f"One PostgreSQL: `'*'`, for each million tenants (measured with {database.tenants:,})"
    found.tables.append(once(title, "", figures))
    found.figures |= {"postgres_every": alone, "postgres_every_copied": copied}


def _memory(what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _forget_most_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")
