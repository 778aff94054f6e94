"""Redis servers in other shapes: behind sentinels, and as a cluster."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis

from tests.support.servers import HOST, RedisServer, find_program, free_port

SERVICE = "tokens"
_DEADLINE_SECONDS = 30.0


class SentinelServer(RedisServer):
    """A sentinel that watches one Redis, alone."""

    def __init__(self, watched: RedisServer, password: str) -> None:
        super().__init__()
        self._watched = watched
        self._password = password

    def command(self) -> list[str]:
        """Return the command line of a sentinel; it keeps what it knows in its configuration file."""
        configuration = self.folder / "sentinel.conf"
        watch = (
            f"sentinel monitor {SERVICE} {HOST} {self._watched.port} 1\nsentinel auth-pass {SERVICE} {self._password}"
        )
        configuration.write_text(f"bind {HOST}\nport {self.port}\ndir {self.folder}\n{watch}\n")
        return [find_program("redis-server", "redis-server"), str(configuration), "--sentinel"]


@contextmanager
def redis_cluster() -> Iterator[list[RedisServer]]:
    """Give the two nodes of a cluster, each with half of the slots."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_node()) for _ in range(2)]
        clients = [stack.enter_context(client_of(node)) for node in nodes]
        clients[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        clients[1].execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        bus_port = clients[1].config_get("cluster-port")["cluster-port"]
        clients[0].execute_command("CLUSTER", "MEET", HOST, nodes[1].port, bus_port)
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not all(_is_whole(client) for client in clients):
            if time.monotonic() > deadline:
                raise RuntimeError("the two nodes did not become a cluster")
            time.sleep(0.02)
        yield nodes


def client_of(server: RedisServer) -> redis.Redis:
    """Return a plain client of one server, to look into it."""
    return redis.Redis(host=HOST, port=server.port, decode_responses=True)


def _node() -> RedisServer:
    return RedisServer("--cluster-enabled", "yes", "--cluster-port", str(free_port()))


def _is_whole(client: redis.Redis) -> bool:
    info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "2")
