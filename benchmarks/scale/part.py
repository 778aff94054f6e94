"""What one process, one Redis, one Cluster and one PostgreSQL carry, as a part of the benchmark."""

import subprocess

from tests.support.servers import PostgresServer, find_program

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.results import Part
from benchmarks.scale import cluster, ladder, one_redis, postgres, process

NAME = "scale"
TITLE = "What each engine carries"


async def measure(bench: Bench) -> Part:
    """Measure each engine, and reckon what more tenants than these would come to."""
    part = Part(NAME, TITLE)
    figures: dict[str, float] = {}
    for engine in (process, one_redis, cluster, postgres):
        found = await engine.measure(bench)
        part.tables += found.tables
        part.growths += found.growths
        figures |= found.figures
    part.notes += [_measured_on(bench), *ladder.told(ladder.Costs.of(figures))]
    return part


def _measured_on(bench: Bench) -> str:
    facts = machine.facts(bench.size, [])
    programs = [
        _version(find_program("redis-server", "redis-server")),
        _version(PostgresServer._program("postgres")),
    ]
    where = [facts[name] for name in ("processor", "system")]
    return (
        f"Measured on {facts['date']}, at commit {facts['commit']}: {', '.join(where)}, {facts['cores']} cores, Python "
        f"{facts['python']}, {', '.join(programs)}; {facts['rounds']} rounds, {facts['load']}. "
        "A server and its load have a core each. CPU time is that of all of the server's processes, and does not count "
        "what waits."
    )


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[:3])
