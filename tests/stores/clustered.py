"""Which node of a cluster has what."""

from collections.abc import Sequence

from tests.support.redis_cluster import RedisCluster
from tests.support.redis_replication import role_of
from tests.support.servers import RedisServer


def primaries_of(cluster: RedisCluster) -> Sequence[RedisServer]:
    """Return the nodes that are primaries now."""
    return [node for node in cluster.nodes if role_of(node) == "master"]


def slot_of(cluster: RedisCluster, tenant: str) -> int:
    """Return the slot of a tenant's hash."""
    return cluster.slot_of(f"{{{tenant}}}")


def tenants_of(cluster: RedisCluster, node: RedisServer, count: int) -> list[str]:
    """Return tenants whose slots a node has."""
    here = (tenant for tenant in map(str, range(1, 1_000)) if cluster.primary_of(slot_of(cluster, tenant)) is node)
    return [next(here) for _ in range(count)]
