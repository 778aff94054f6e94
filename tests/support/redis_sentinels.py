"""Redis behind sentinels: one that watches alone, and three that can agree on a failover."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.redis_replication import ask, client_of, is_in_sync, redis_node, role_of, wait_until
from tests.support.servers import HOST, RedisServer, find_program

SERVICE = "tokens"

DOWN_AFTER_SECONDS = 1.0
"""How long a server is silent before a sentinel of a group takes it for dead."""

# How often a sentinel asks and tells, in milliseconds, for failovers of seconds where the defaults take half a minute;
# and a short pause when a busy machine has made it lose count of time. A replica that it has not heard from for five
# pings is not promoted, and it then asks each second at best: the pings may not be much quicker.
_HASTE = {"info-period": 200, "ping-period": 400, "publish-period": 200, "ask-period": 200, "tilt-period": 1_000}


class SentinelServer(RedisServer):
    """A sentinel that watches one Redis; `quorum` sentinels must agree that it is dead."""

    def __init__(self, watched: RedisServer, *, password: str | None = None, quorum: int = 1) -> None:
        super().__init__()
        settings = [f"monitor {SERVICE} {HOST} {watched.port} {quorum}"]
        if password is not None:
            settings.append(f"auth-pass {SERVICE} {password}")
        settings.append(f"down-after-milliseconds {SERVICE} {DOWN_AFTER_SECONDS * 1_000:.0f}")
        settings.append(f"failover-timeout {SERVICE} 1000")
        self._settings = settings

    def command(self) -> list[str]:
        """Return the command line of a sentinel; it keeps what it learns in its configuration file."""
        configuration = self.folder / "sentinel.conf"
        if not configuration.exists():
            own = [f"bind {HOST}", f"port {self.port}", f"dir {self.folder}"]
            configuration.write_text("\n".join([*own, *(f"sentinel {setting}" for setting in self._settings), ""]))
        return [find_program("redis-server", "redis-server"), str(configuration), "--sentinel"]

    def hurry(self) -> None:
        """Make it ask and tell more often than it would; to be repeated when it is started again."""
        ask(self, "SENTINEL", "DEBUG", *(str(part) for setting in _HASTE.items() for part in setting))


@dataclass
class SentinelGroup:
    """Two servers, a primary and its replica by turns, and the sentinels that say which is which."""

    servers: Sequence[RedisServer]
    sentinels: Sequence[SentinelServer]

    @property
    def url(self) -> str:
        """The URL for `RedisStore.from_url`."""
        return f"redis+sentinel://{','.join(f'{HOST}:{sentinel.port}' for sentinel in self.sentinels)}/{SERVICE}"

    @property
    def primary(self) -> RedisServer:
        """The server that the sentinels name."""
        for sentinel in self.sentinels:
            if sentinel.is_running:
                _, port = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
                return next(server for server in self.servers if server.port == int(port))
        raise RuntimeError("no sentinel is running")

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def wait_until_whole(self) -> None:
        """Wait until everybody knows everybody, and the replica has all that was written to the primary so far."""
        wait_until(self._is_whole, "the sentinels agree and the replica is in sync")

    def fail_over(self) -> None:
        """Order a planned failover; it is under way when this returns."""
        ask(self.sentinels[0], "SENTINEL", "FAILOVER", SERVICE)

    def wait_until_primary_is(self, server: RedisServer) -> float:
        """Wait until the sentinels name this server, and it agrees; return how many seconds that took."""
        return wait_until(lambda: self.primary is server and role_of(server) == "master", f"{server} is the primary")

    def _is_whole(self) -> bool:
        return all(self._knows_all(sentinel) for sentinel in self.sentinels) and is_in_sync(self.primary, self.replica)

    def _knows_all(self, sentinel: SentinelServer) -> bool:
        with client_of(sentinel) as client:
            state = client.sentinel_master(SERVICE)
            replicas = client.sentinel_slaves(SERVICE)
        others = len(self.sentinels) - 1
        usable = [replica for replica in replicas if replica["master-link-status"] == "ok" and _is_up(replica)]
        return _is_up(state) and state["num-other-sentinels"] == others and len(usable) == len(self.servers) - 1


def _is_up(state: dict[str, object]) -> bool:
    return not (state["is_sdown"] or state["is_odown"] or state["is_disconnected"])


@contextmanager
def sentinel_group() -> Iterator[SentinelGroup]:
    """Give a primary, a replica that is in sync, and three sentinels of which two can order a failover."""
    with ExitStack() as stack:
        primary = stack.enter_context(redis_node())
        replica = stack.enter_context(redis_node("--replicaof", HOST, str(primary.port)))
        sentinels = [stack.enter_context(SentinelServer(primary, quorum=2)) for _ in range(3)]
        for sentinel in sentinels:
            sentinel.hurry()
        group = SentinelGroup([primary, replica], sentinels)
        group.wait_until_whole()
        yield group
