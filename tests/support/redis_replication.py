"""A primary and its replica, with the faults that make a replica lag; also what sentinels and a cluster stand on."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from tests.support.servers import HOST, POLL_SECONDS, RedisServer

DEADLINE_SECONDS = 60.0

# Without the first a primary waits 5 seconds for more replicas before it sends its data to the first of them; without
# the second one that is stopped waits for those that lag.
_AT_ONCE = ("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0")


def redis_node(*arguments: str) -> RedisServer:
    """Return a server, not started, that lets replicas follow it without delay."""
    return RedisServer(*_AT_ONCE, *arguments)


def client_of(server: RedisServer) -> redis.Redis:
    """Return a plain client of one server, to look into it."""
    return redis.Redis(host=HOST, port=server.port, decode_responses=True)


def ask(server: RedisServer, *command: str | int) -> Any:
    """Send one command to a server, over a connection of its own, and return the answer."""
    with client_of(server) as client:
        return client.execute_command(*command)


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> float:
    """Poll until the condition holds; return how many seconds that took. A server that does not answer counts as no."""
    started = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - started
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
            pass
        if time.monotonic() > started + seconds:
            raise RuntimeError(f"not within {seconds:g} seconds: {what}")
        time.sleep(POLL_SECONDS)


def role_of(server: RedisServer) -> str:
    """Return what a server takes itself for: `master` or `slave`."""
    return str(ask(server, "ROLE")[0])


def is_in_sync(primary: RedisServer, replica: RedisServer) -> bool:
    """Say whether the replica follows the primary and has received all that it wrote so far."""
    written = ask(primary, "INFO", "replication")["master_repl_offset"]
    seen = ask(replica, "INFO", "replication")
    return bool(seen.get("master_link_status") == "up" and seen["slave_repl_offset"] >= written)


def cut(replica: RedisServer) -> None:
    """Let a replica miss whatever is written from now on: it goes on answering with what it has.

    It knows its primary as before, but signs in to it with a password that is none, so sentinels and clusters see
    an ordinary replica whose link is down and don't put it right. (One that is frozen would still find in its socket
    what the primary had sent.)
    """
    with client_of(replica) as client:
        client.config_set("masterauth", "not the password")
        client.execute_command("CLIENT", "KILL", "TYPE", "master")
        wait_until(lambda: client.info("replication")["master_link_status"] == "down", "the link is cut")


def mend(replica: RedisServer) -> None:
    """Let a replica that was cut follow its primary again, and catch up."""
    with client_of(replica) as client:
        client.config_set("masterauth", "")


def promote(replica: RedisServer) -> None:
    """Make a replica a primary with the data that it has, as an operator would by hand."""
    with client_of(replica) as client:
        client.replicaof("NO", "ONE")
        client.config_set("masterauth", "")


@dataclass
class ReplicatedRedis:
    """Two servers; `primary` and `replica` are what they are now."""

    primary: RedisServer
    replica: RedisServer

    def wait_until_in_sync(self) -> None:
        """Wait until the replica has all that was written to the primary so far."""
        wait_until(lambda: is_in_sync(self.primary, self.replica), "the replica is in sync")

    def cut(self) -> None:
        """Let the replica miss whatever is written from now on."""
        cut(self.replica)

    def mend(self) -> None:
        """Let the replica follow the primary again, and wait until it has caught up."""
        mend(self.replica)
        self.wait_until_in_sync()

    def fail_over(self, *, kill: bool = True) -> None:
        """Promote the replica as it is, having killed the primary (or else leaving it alone, a primary too)."""
        if kill:
            self.primary.kill()
        promote(self.replica)
        self.primary, self.replica = self.replica, self.primary

    def follow(self) -> None:
        """Make what was the primary, started again if it is down, a replica of the one that is; wait for it."""
        if not self.replica.is_running:
            self.replica.start()
        ask(self.replica, "REPLICAOF", HOST, self.primary.port)
        self.wait_until_in_sync()


@contextmanager
def replicated_redis() -> Iterator[ReplicatedRedis]:
    """Give a primary and a replica that is in sync."""
    with ExitStack() as stack:
        primary = stack.enter_context(redis_node())
        replica = stack.enter_context(redis_node("--replicaof", HOST, str(primary.port)))
        pair = ReplicatedRedis(primary, replica)
        pair.wait_until_in_sync()
        yield pair
