"""The servers of a hunt, and what can be done to them. All of it blocks: call it in a thread.

PostgreSQL and Redis have a replica each. In a failover the replica takes over the address, as a floating IP would have
it: clients know one.
"""

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import redis

from tests.hunt import schema
from tests.hunt.plan import Plan
from tests.support.servers import HOST, POLL_SECONDS, AppServer, PostgresReplica, PostgresServer, RedisServer

_STARTS = 5
_SYNC_SECONDS = 20.0
_DEAD_PORT = "1"
_NUMBER = re.compile(rb"\d+")


class Worker(AppServer):
    """A worker process of the app, on a port of its own: requests are balanced by whoever sends them."""

    _holds = 0

    def command(self) -> list[str]:
        """Return the command line, without a line in the log for each request."""
        return [*super().command(), "--no-access-log"]

    @property
    def life(self) -> object:
        """What is another after each start of the worker, and None when it has died."""
        return None if self.has_died else self._process

    @property
    def has_died(self) -> bool:
        """Whether the process has ended and was not started again."""
        return self._process is None or self._process.poll() is not None

    def revive(self) -> None:
        """Start it again, if it has died; should it be killed while it starts, once more."""
        for turn in range(_STARTS):
            if not self.has_died:
                return
            try:
                self.kill()
                self.start()
            except RuntimeError:
                if turn == _STARTS - 1:
                    raise

    def crash(self) -> None:
        """Kill it, and leave it to be revived."""
        self._signal_all(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: its port takes connections and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let it be frozen inside the block, by `pause` or by itself; it goes on when nobody holds it any more."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self.resume_unless_held()

    def resume_unless_held(self) -> None:
        """Let it go on, unless somebody wants it frozen: it may have obeyed an order late."""
        if not self._holds:
            self.resume()

    @property
    def is_paused(self) -> bool:
        """Whether it is frozen, by whomever."""
        process = self._process
        return process is not None and process.poll() is None and _is_stopped(process.pid)

    def wait_until_paused(self, still: Callable[[], bool]) -> bool:
        """Wait as long as `still` says for the worker to freeze itself; return whether it has."""
        while still():
            if self.is_paused:
                return True
            time.sleep(POLL_SECONDS)
        return False

    def resume(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it, also when it is frozen."""
        self.resume()
        super().stop()


class Topology:
    """PostgreSQL and Redis, each with a replica, and the workers of the app with the scheme that is hunted."""

    def __init__(self, plan: Plan, app: str) -> None:
        self._plan = plan
        self._app = app
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.postgres: PostgresServer = PostgresServer()
            self._standby: PostgresServer | None = None
            stack.callback(self._close_postgres)
            self.postgres.start()
            database = self.postgres.create_database()
            schema.create(self.postgres.url("psycopg", database), self._plan)
            self.dsn = f"host={HOST} port={self.postgres.port} user=postgres dbname={database}"
            self._attach_standby()
            self._redis = RedisServer()
            self._spare = RedisServer("--repl-diskless-sync-delay", "0")
            stack.callback(self._redis.close)
            stack.callback(self._spare.close)
            self._redis.start()
            self._attach_replica()
            environment = {
                "DATABASE_URL": self.postgres.url("asyncpg", database),
                "REDIS_URL": self._redis.url,
                "MAX_STALE": str(self._plan.max_stale),
            }
            self.workers = [Worker(self._app, env=environment) for _ in range(self._plan.workers)]
            with ThreadPoolExecutor() as pool:
                for worker in self.workers:
                    stack.callback(worker.close)
                    stack.callback(worker.kill)
                list(pool.map(Worker.start, self.workers))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def keep_logs(self, path: Path) -> None:
        """Copy what the workers and PostgreSQL printed, to files whose names begin as the one given."""
        for number, worker in enumerate(self.workers):
            shutil.copyfile(worker.log, path.with_suffix(f".worker-{number}.log"))
        shutil.copyfile(self.postgres.log, path.with_suffix(".postgres.log"))

    def empty_redis(self, down: float) -> None:
        """Kill Redis, and start it again after so many seconds; it keeps nothing on disk."""
        self._redis.kill()
        time.sleep(down)
        self._redis.start()

    def pause_redis(self) -> None:
        """Freeze Redis."""
        self._redis.pause()

    def resume_redis(self) -> None:
        """Let Redis go on."""
        self._redis.resume()

    def evict(self, tenant: int) -> None:
        """Have Redis forget what it holds of a tenant, as one that is full does."""
        with suppress(redis.ConnectionError, redis.TimeoutError), self._client(self._redis) as client:
            for key in client.scan_iter():
                if str(tenant).encode() in _NUMBER.findall(key):
                    client.delete(key)

    def cut_replica(self) -> None:
        """Cut the replica's link: what it has grows old from now on."""
        with self._client(self._spare) as client:
            client.replicaof(HOST, _DEAD_PORT)

    def fail_over(self) -> None:
        """Kill Redis, and let its replica have its address, with what it has; then give it a replica of its own."""
        address = self._redis.port
        self._redis.kill()
        with self._client(self._spare) as client:
            client.replicaof("NO", "ONE")
            client.config_set("port", address)
        self._redis, self._spare = self._spare, self._redis
        self._redis.port, self._spare.port = address, self._redis.port
        self._attach_replica()

    def restart_postgres(self) -> None:
        """Have PostgreSQL end at once, as in a crash, and recover."""
        self.postgres.kill()
        self.postgres.start()
        self._wait_for_standby()

    def fail_over_postgres(self) -> None:
        """Kill PostgreSQL, and let its replica have its address; then give that a replica of its own.

        No commit that was acknowledged is lost, as each waited for the replica; folds don't wait, and may be.
        """
        failed, replica = self.postgres, self._standby
        assert isinstance(replica, PostgresReplica)
        failed.kill()
        self.postgres, self._standby = replica, None
        replica.promote()
        replica.stop()
        replica.port = failed.port
        replica.start()
        failed.close()
        self._attach_standby()

    def _attach_standby(self) -> None:
        """Start a replica of PostgreSQL, for which each commit waits from now on.

        The app's handlers don't read it yet: a session that does has to be bound to its snapshot.
        """
        self._standby = PostgresReplica(self.postgres, settings={"wal_retrieve_retry_interval": "100ms"})
        self._standby.start()
        with self._connected() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        self._wait_for_standby()

    def _wait_for_standby(self) -> None:
        deadline = time.monotonic() + _SYNC_SECONDS
        with self._connected() as connection:
            while not connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").fetchall():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL's replica is not in step after {_SYNC_SECONDS:g} s.")
                time.sleep(POLL_SECONDS)

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(host=HOST, port=self.postgres.port, user="postgres", autocommit=True)

    def _close_postgres(self) -> None:
        if self._standby is not None:
            self._standby.close()
        self.postgres.close()

    def _attach_replica(self) -> None:
        self._spare.start()
        deadline = time.monotonic() + _SYNC_SECONDS
        with self._client(self._spare) as client:
            client.replicaof(HOST, str(self._redis.port))
            while client.info("replication")["master_link_status"] != "up":
                if time.monotonic() > deadline:
                    raise RuntimeError(f"Redis's replica is not in step after {_SYNC_SECONDS:g} s.")
                time.sleep(POLL_SECONDS)

    @staticmethod
    def _client(server: RedisServer) -> redis.Redis:
        return redis.Redis(host=HOST, port=server.port, socket_timeout=5.0)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
