"""One Cluster: whether its shards share the work evenly, and whom an event reaches by each kind of pub/sub."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import redis
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_replication import ask
from tests.support.servers import HOST

from benchmarks import cores
from benchmarks.bench import Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from benchmarks.scale.calls import NAMESPACE, benchmark
from benchmarks.scale.measured import MODELS, Measured, models_of, once
from benchmarks.scale.one_redis import fill, numbered
from cache_revalidate import RedisStore, Revalidator
from cache_revalidate.stores.redis.layout import tenant_key

_SHARDS = 3
_AT_ONCE = 50
_BUS = ("cluster_stats_messages_publish_sent", "cluster_stats_messages_publishshard_sent")


async def measure(bench: Bench) -> Measured:
    """Measure three primaries without replicas, all on one core: what is compared is their shares."""
    bench.progress.begin("scale: one Cluster")
    found = Measured()
    with cores.on(cores.MEASURED), redis_cluster(nodes=_SHARDS, replicas=0) as cluster, cores.on(cores.OTHERS):
        await _weigh(bench, cluster, found)
        await _shared(bench, cluster, found)
        await _published(bench, cluster, found)
    return found


async def _shared(bench: Bench, cluster: RedisCluster, found: Measured) -> None:
    tenants = max(bench.size.largest // 10, 30)
    store = RedisStore.from_url(cluster.url, timeout=10.0)
    revalidator = Revalidator(MODELS, store)
    async with revalidator.lifespan():
        bench.progress.say(f"bumps of {tenants:,} tenants")
        bumped = await _taken(cluster, tenants, lambda tenant: revalidator.bump(tenant, *MODELS))
        bench.progress.say(f"reads of {tenants:,} tenants")
        read = await _taken(cluster, tenants, revalidator.tokens)
        listening = await _taken(cluster, tenants, revalidator.tokens)
    sizes = _sizes(cluster)
    shares = {
        "tenants": [size / sum(sizes) * 100 for size in sizes],
        f"CPU for bumps of {models_of(MODELS)}": _percent(bumped),
        "CPU for reads": _percent(read),
        "CPU for reads that subscribe, by SSUBSCRIBE": _percent(listening),
    }
    rows = [Row(name, Spread.of(figures), None) for name, figures in shares.items()]
    found.tables.append(Table(f"One Cluster of {_SHARDS} shards: the share of one of them", "%", rows, ""))


async def _weigh(bench: Bench, cluster: RedisCluster, found: Measured) -> None:
    """Weigh tenants on each shard, each on that of its slot."""
    tenants = numbered(bench.size.largest)
    bench.progress.say(f"bytes of {len(tenants):,} tenants")
    of_shard: dict[int, list[int]] = {node.port: [] for node in cluster.nodes}
    with redis.RedisCluster(host=HOST, port=cluster.nodes[0].port) as client:
        for tenant in tenants:
            of_shard[client.get_node_from_key(tenant_key(NAMESPACE, str(tenant))).port].append(tenant)
    weights = []
    for port, some in of_shard.items():
        with redis.Redis(host=HOST, port=port) as node:
            weights.append(await asyncio.to_thread(fill, node, MODELS, some))
            node.flushall()
    rows = [Row(f"a tenant's hash, {models_of(MODELS)}, on each shard", Spread.of(weights), None)]
    found.tables.append(Table("One Cluster: memory", "bytes", rows, ""))
    found.figures["cluster_bytes"] = Spread.of(weights).median


async def _taken(cluster: RedisCluster, tenants: int, operation: Callable[[int], Awaitable[object]]) -> list[float]:
    """Return the CPU seconds of each node while something is done for each tenant."""
    before = _cpu(cluster)
    for start in range(0, tenants, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, tenants))
        await asyncio.gather(*(operation(1 + number) for number in numbers))
    return [after - first for first, after in zip(before, _cpu(cluster), strict=True)]


async def _published(bench: Bench, cluster: RedisCluster, found: Measured) -> None:
    """Publish on the shard of one channel, in both ways, and look at what the bus carries and at the others' CPU."""
    times = max(bench.size.largest // 20, 10)
    channel = "cache_revalidate:{1}"
    node = cluster.primary_of(cluster.slot_of(channel))
    others = [each for each in cluster.nodes if each is not node]
    sent, taken = {}, {}
    for command in ("SPUBLISH", "PUBLISH"):
        bench.progress.say(f"{times:,} events by {command}")
        before, bus = [cpu_seconds(each.process_id) for each in others], _bus(cluster)
        await benchmark(node, [command, channel, "label 17950000000000000000"], times)
        await _still(cluster)
        sent[command] = (_bus(cluster) - bus) / times
        spent = sum(cpu_seconds(each.process_id) - first for each, first in zip(others, before, strict=True))
        taken[command] = spent / times / len(others) * 1_000_000
    how = {"SPUBLISH": "by SPUBLISH, as the scripts do", "PUBLISH": "by PUBLISH, as they do not"}
    found.tables += [
        once(
            "One Cluster: messages between nodes for one event",
            "messages",
            {how[command]: figure for command, figure in sent.items()},
        ),
        once(
            "One Cluster: what one event costs each node that nobody listens to it on",
            "µs of CPU",
            {how[command]: figure for command, figure in taken.items()},
        ),
    ]
    found.figures["cluster_messages"] = sent["SPUBLISH"]


async def _still(cluster: RedisCluster) -> None:
    """Wait until the bus has nothing left to send."""
    before = -1
    while (now := _bus(cluster)) != before:
        before = now
        await asyncio.sleep(0.2)


def _bus(cluster: RedisCluster) -> int:
    facts = [ask(node, "CLUSTER INFO") for node in cluster.nodes]
    return sum(int(fact.get(name, 0)) for fact in facts for name in _BUS)


def _cpu(cluster: RedisCluster) -> list[float]:
    return [cpu_seconds(node.process_id) for node in cluster.nodes]


def _percent(figures: Sequence[float]) -> list[float]:
    return [figure / sum(figures) * 100 for figure in figures]


def _sizes(cluster: RedisCluster) -> list[int]:
    return [int(ask(node, "DBSIZE")) for node in cluster.nodes]
