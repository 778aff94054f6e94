"""redis-py's clients of a cluster, mended where they lose their way while slots move between nodes."""

from __future__ import annotations

from typing import Any, cast

import redis.asyncio.cluster
import redis.cluster


class ClusterClient(redis.asyncio.RedisCluster):
    """The asynchronous client of a cluster, for scripts alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands_parser = cast("Any", _NoCommands())

    async def aclose(self) -> None:
        """Close all connections, also when the client is about to learn the cluster's nodes anew."""
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> redis.asyncio.cluster.ClusterNode | None:
        """Return a node; by its name, which redis-py has from an ASK, one that answers for a slot not yet its own."""
        node = super().get_node(host, port, node_name)
        if node_name is None:
            return node
        if node is None:
            # Nobody names a node that has no slot yet, until its first one has arrived.
            host, port = _place(node_name)
            options: dict[str, Any] = self.get_connection_kwargs()
            node = redis.asyncio.cluster.ClusterNode(host, port, redis.cluster.PRIMARY, **options)
            self.nodes_manager.nodes_cache[node.name] = node
        return cast("redis.asyncio.cluster.ClusterNode", _AskedNode(node))


class _NoCommands:
    """Knows no command's keys: a script's call names its own.

    redis-py would ask the first primary for all commands before anything else, and if that one is down, call none of
    the others.
    """

    async def initialize(self, node: redis.asyncio.cluster.ClusterNode) -> None:
        pass


class _AskedNode:
    """A node to which a slot is moving, for one command, which needs ASKING before it on the same connection.

    redis-py sends the two over any free connections of the node, so with two or more the node turns the command away.
    """

    def __init__(self, node: redis.asyncio.cluster.ClusterNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def execute_command(self, *command: Any, asking: bool = False, **options: Any) -> Any:  # noqa: ARG002
        if command == ("ASKING",):
            return None  # it goes with the command
        asked = redis.asyncio.cluster.PipelineCommand(0, "ASKING")
        wanted = redis.asyncio.cluster.PipelineCommand(1, *command, **options)
        await self._node.execute_pipeline([asked, wanted])
        for answer in (asked.result, wanted.result):
            if isinstance(answer, Exception):
                raise answer
        return wanted.result


class SyncClusterClient(redis.RedisCluster):
    """The synchronous client of a cluster."""

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Return a node; by its name, which redis-py has from an ASK, also one that has no slot yet."""
        node = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if node is None and node_name is not None:
            node = redis.cluster.ClusterNode(*_place(node_name), redis.cluster.PRIMARY)  # type: ignore[no-untyped-call]
            with self.nodes_manager._lock:
                node = self.nodes_manager.nodes_cache.setdefault(node_name, node)
        return node


def _place(node_name: str) -> tuple[str, int]:
    host, _, port = node_name.rpartition(":")
    return host, int(port)
