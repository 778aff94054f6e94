"""A Redis Cluster: primaries that share the slots, replicas for them, and how a slot moves from one to another."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.redis_replication import ask, client_of, is_in_sync, redis_node, wait_until
from tests.support.servers import HOST, RedisServer, free_port

NODE_TIMEOUT_SECONDS = 1.0
"""How long a node is silent before another takes it for dead."""

_SLOTS = 16_384
_UNWELL = {"fail", "fail?", "handshake", "noaddr"}
_MIGRATE_MILLISECONDS = 10_000


@dataclass
class RedisCluster:
    """The nodes of a cluster: first the primaries that began as such, then the replicas, in the same order."""

    nodes: list[RedisServer]
    _stack: ExitStack

    @property
    def url(self) -> str:
        """The URL for `RedisStore.from_url`, of the first two nodes."""
        return f"redis+cluster://{','.join(f'{HOST}:{node.port}' for node in self.nodes[:2])}"

    def slot_of(self, key: str) -> int:
        """Return the slot of a key."""
        return int(ask(self._any(), "CLUSTER", "KEYSLOT", key))

    def primary_of(self, slot: int) -> RedisServer:
        """Return the node that has the slot, as any running node sees it."""
        first, _ = self._shard_of(slot)
        return first

    def replicas_of(self, slot: int) -> Sequence[RedisServer]:
        """Return the replicas of the node that has the slot, as any running node sees it."""
        _, others = self._shard_of(slot)
        return others

    def fail_over(self, replica: RedisServer) -> None:
        """Order that the replica takes over from its primary, which loses nothing; under way when this returns."""
        ask(replica, "CLUSTER", "FAILOVER")

    def wait_until_primary_is(self, node: RedisServer, slot: int) -> float:
        """Wait until all running nodes name this one as the slot's; return how many seconds that took."""
        running = [other for other in self.nodes if other.is_running]
        return wait_until(
            lambda: all(_has(_known(other)[node.port], slot) for other in running), f"{node} has the slot {slot}"
        )

    def begin_move(self, slot: int, target: RedisServer) -> RedisServer:
        """Let a slot begin to move to a node, key by key; return the node that it leaves."""
        source = self.primary_of(slot)
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", _id(target))
        return source

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> int:
        """Move the keys that the slot has at its old node to its new one; return how many they were."""
        moved = 0
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            ask(source, "MIGRATE", HOST, target.port, "", 0, _MIGRATE_MILLISECONDS, "KEYS", *keys)
            moved += len(keys)
        return moved

    def end_move(self, slot: int, target: RedisServer) -> None:
        """Tell all primaries that a slot, whose keys have moved, is the new node's."""
        primaries = [node for node in self.nodes if node.is_running and ask(node, "ROLE")[0] == "master"]
        for node in sorted(primaries, key=lambda node: node is not target):  # the new one first, lest it be nobody's
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", _id(target))

    def add_node(self) -> RedisServer:
        """Start a node, which joins as a primary without slots; return it when all know it."""
        node = self._stack.enter_context(_node())
        for other in self.nodes:
            _meet(other, node)
        self.nodes.append(node)
        self.wait_until_whole()
        return node

    def wait_until_whole(self) -> None:
        """Wait until all running nodes know each other and are well, and the replicas have all that was written."""
        wait_until(self._is_whole, "the cluster is whole")

    def _any(self) -> RedisServer:
        return next(node for node in self.nodes if node.is_running)

    def _shard_of(self, slot: int) -> tuple[RedisServer, Sequence[RedisServer]]:
        by_port = {node.port: node for node in self.nodes}
        first, *others = (by_port[port] for port in _shard(self._any(), slot))
        return first, others

    def _is_whole(self) -> bool:
        running = [node for node in self.nodes if node.is_running]
        views = [_view(node) for node in running]
        return (
            len(views[0]) == len(running)
            and all(view == views[0] for view in views)
            and all(ask(node, "CLUSTER INFO")["cluster_state"] == "ok" for node in running)
            and all(map(self._is_in_sync, running))
        )

    def _is_in_sync(self, node: RedisServer) -> bool:
        role, *details = ask(node, "ROLE")
        return role == "master" or any(other.port == details[1] and is_in_sync(other, node) for other in self.nodes)


@contextmanager
def redis_cluster(nodes: int = 6, replicas: int = 1) -> Iterator[RedisCluster]:
    """Give a cluster whose slots its primaries share evenly, each with `replicas` replicas in sync."""
    with ExitStack() as stack:
        cluster = RedisCluster([stack.enter_context(_node()) for _ in range(nodes)], stack)
        primaries = cluster.nodes[: nodes // (1 + replicas)]
        for i, node in enumerate(cluster.nodes):
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for i, node in enumerate(primaries):
            ask(node, "CLUSTER", "ADDSLOTSRANGE", *_share(i, len(primaries)))
        for node in cluster.nodes:
            for other in cluster.nodes:
                if other is not node:
                    _meet(node, other)
        followers = cluster.nodes[len(primaries) :]
        for i, node in enumerate(followers):
            primary = primaries[i % len(primaries)]
            wait_until(lambda: ask(node, "CLUSTER", "REPLICATE", _id(primary)), f"{node} knows {primary}")  # noqa: B023 - called at once
        cluster.wait_until_whole()
        yield cluster


def _node() -> RedisServer:
    timeout = ["--cluster-node-timeout", f"{NODE_TIMEOUT_SECONDS * 1_000:.0f}"]
    # A primary that gave its last slot away stays one.
    staying = ["--cluster-allow-replica-migration", "no"]
    return redis_node("--cluster-enabled", "yes", "--cluster-port", str(free_port()), *timeout, *staying)


def _share(i: int, primaries: int) -> tuple[int, int]:
    return _SLOTS * i // primaries, _SLOTS * (i + 1) // primaries - 1


def _meet(node: RedisServer, other: RedisServer) -> None:
    bus_port = ask(other, "CONFIG GET", "cluster-port")["cluster-port"]
    ask(node, "CLUSTER", "MEET", HOST, other.port, bus_port)


def _id(node: RedisServer) -> str:
    return str(ask(node, "CLUSTER", "MYID"))


def _view(node: RedisServer) -> dict[str, tuple[str, list[Any]]]:
    """Return how a node sees each that is well, by id: whose replica it is, and its slots."""
    well = [other for other in _known(node).values() if other["connected"] and not _UNWELL & _flags(other)]
    return {other["node_id"]: (other["master_id"], other["slots"]) for other in well}


def _shard(node: RedisServer, slot: int) -> list[int]:
    """Return the ports of the node that has the slot and of its replicas, as `node` sees it."""
    # CLUSTER SLOTS would leave out a replica that has not received anything yet.
    known = _known(node)
    primary = next((port for port, other in known.items() if _has(other, slot)), 0)
    if not primary:
        raise RuntimeError(f"nobody has the slot {slot}")
    return [primary, *(port for port, other in known.items() if other["master_id"] == known[primary]["node_id"])]


def _known(node: RedisServer) -> dict[int, dict[str, Any]]:
    with client_of(node) as client:
        return {int(address.rpartition(":")[2]): other for address, other in client.cluster("NODES").items()}


def _flags(node: dict[str, Any]) -> set[str]:
    return set(node["flags"].split(","))


def _has(node: dict[str, Any], slot: int) -> bool:
    return any(int(numbers[0]) <= slot <= int(numbers[-1]) for numbers in node["slots"])
