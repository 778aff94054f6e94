"""The library's own script calls, sent by redis-benchmark; what they cost is the CPU time of the server."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import redis
from tests.support.servers import HOST, RedisServer, find_program

from benchmarks import cores
from benchmarks.cpu import cpu_seconds
from benchmarks.rounds import Contestant
from cache_revalidate.stores.base import Keyspace
from cache_revalidate.stores.redis.clock import RedisClock
from cache_revalidate.stores.redis.layout import CallContext, Operation, ScriptCall, by_hash

NAMESPACE: Final = "cache_revalidate"
ANY: Final = "__rand_int__"
"""Stands for a tenant of twelve digits, which redis-benchmark draws for each call."""
PIPELINED: Final = 500
CONNECTIONS: Final = 50

_CLOCK: Final = RedisClock(None)


def call_of(
    operation: Operation,
    tenant: str,
    models: Iterable[str],
    *,
    namespace: str = NAMESPACE,
    expiry: float = 259_200.0,
    clustered: bool = False,
) -> ScriptCall:
    """Return the call that a `RedisStore` makes for one tenant; a raise, to a token that is larger at each call."""
    keyspace = Keyspace(namespace, expiry)
    # redis-benchmark draws the last digits of the token, too.
    given = dict.fromkeys(models, f"17950000{ANY}")
    changes = {tenant: given if operation == "raise" else sorted(given)}
    return by_hash(operation, keyspace, changes, CallContext(_CLOCK, clustered, _refused))


def loaded(server: RedisServer, calls: Iterable[ScriptCall]) -> None:
    """Have a server know the scripts of some calls."""
    with redis.Redis(host=HOST, port=server.port) as client:
        for text in {call.script.text for call in calls}:
            client.script_load(text)


def evaluated(call: ScriptCall) -> list[str]:
    """Return the command that carries a call out."""
    return ["EVALSHA", call.script.sha, str(len(call.keys)), *call.keys, *call.arguments]


def cost(
    server: RedisServer, command: Sequence[str], times: int, *, tenants: int = 100_000, connections: int = CONNECTIONS
) -> Contestant:
    """Return the contestant whose sample is the server's CPU time for one command, in µs."""

    async def sample() -> float:
        before = cpu_seconds(server.process_id)
        await benchmark(server, command, times, tenants=tenants, connections=connections)
        return (cpu_seconds(server.process_id) - before) / times * 1_000_000

    return sample


async def benchmark(
    server: RedisServer,
    command: Sequence[str],
    times: int,
    *,
    tenants: int = 100_000,
    connections: int = CONNECTIONS,
    pipelined: int = 1,
) -> None:
    """Send a command so many times by redis-benchmark, which runs on the core that the server does not have."""
    program = find_program("redis-benchmark", "redis-tools")
    where = ["-h", HOST, "-p", str(server.port), "-c", str(min(connections, times)), "-P", str(pipelined)]
    process = await asyncio.create_subprocess_exec(
        *cores.pinned(cores.OTHERS),
        *(program, *where, "-n", str(times), "-r", str(tenants), "-q", *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode or b"Error" in output or b"ERR" in output:
        raise RuntimeError(f"redis-benchmark failed: {output.decode(errors='replace')[-500:]}")


def _refused(refusal: str) -> None:
    raise RuntimeError(refusal)
