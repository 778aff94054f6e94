"""Real servers for tests: each on a free loopback port, in a temporary folder, stopped by its own process id."""

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Literal, Self, TypeAlias

import psycopg

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
SHOWN_CHARACTERS = 8_000
"""How much of a server's output is shown when a test fails."""

# Below the range from which the kernel takes the ports of outgoing connections, so that none of those
# can sit on a server's port while it is down and about to come back.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port among 100 tried")


def find_program(name: str, package: str, folders: Sequence[Path] = ()) -> str:
    """Return the path of a program, looked for on PATH and then in `folders`.

    Raises RuntimeError naming the Debian package that holds it: a test on a real server fails without it, never skips.
    """
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, folders)))
    if found is None:
        raise RuntimeError(f"{name} is not installed: apt-get install {package} (`make test` does it)")
    return found


def answers(port: int, path: str = "/") -> bool:
    """Say whether a server answers a request, whatever the status; an OSError counts as no."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except http.client.HTTPException:
        return False
    finally:
        connection.close()
    return True


class Server(ABC):
    """One server program; `with` starts it, stops it and removes its folder. It may be started again on its port."""

    running: ClassVar[list["Server"]] = []
    stop_signal = signal.SIGTERM
    user: str | None = None

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="cache-revalidate-test-"))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Say whether the server answers; an OSError counts as no."""

    def environment(self) -> dict[str, str]:
        """Return the whole environment that the server is started with."""
        return dict(os.environ)

    def working_folder(self) -> Path:
        """Return the folder that the server is started in."""
        return self.folder

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    @property
    def process_id(self) -> int:
        """The id of the process that was started; what that has forked in turn has others."""
        if self._process is None:
            raise RuntimeError(f"{self} is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file that holds what the server printed."""
        return self.folder / "output.log"

    def output(self) -> str:
        """Return what the server has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> Self:
        """Start the server and wait, at most 60 seconds, until it answers."""
        if self._process is not None:
            raise RuntimeError(f"{self} is running")
        with self.log.open("ab") as log:
            # A session of its own, so that the workers that it forks can be killed with it.
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.working_folder(),
                env=self.environment(),
                user=self.user,
                start_new_session=True,
            )
        self.running.append(self)
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ask the server to end, wait, and kill it when it has not ended after 15 seconds. Harmless when it is down."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._ended()

    def kill(self) -> None:
        """Kill the server and its workers at once, as a crash would. Harmless when it is down."""
        if self._process is None:
            return
        self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._ended()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"{self} printed:\n{self.output()[-SHOWN_CHARACTERS:]}")
        self.close()

    def __str__(self) -> str:
        return f"{type(self).__name__} on port {self.port}"

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"{self} ended with code {process.returncode}:\n{self.output()}")
            try:
                if self.is_ready():
                    return
            except OSError:
                pass
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"{self} did not answer within {START_SECONDS:.0f} seconds:\n{self.output()}")

    def _signal_all(self, number: signal.Signals) -> None:
        # Only while the process lives: once it has been waited for, its id, and so its group's, may be another's.
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _ended(self) -> None:
        self._process = None
        self.running.remove(self)


class RedisServer(Server):
    """A `redis-server` that keeps nothing on disk; further arguments are passed on to it (`"--requirepass", "x"`)."""

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self._arguments = arguments

    @property
    def url(self) -> str:
        """The server's URL, database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        """Return the command line of a server without persistence."""
        program = find_program("redis-server", "redis-server")
        own = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        return [program, *own, *self._arguments]

    def is_ready(self) -> bool:
        """Say whether it answers PING, be it by asking for a password."""
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it, also when it is frozen."""
        self.resume()
        super().stop()

    def close(self) -> None:
        """Kill it, as it has nothing to save and takes a tenth of a second to notice that it should end."""
        self.kill()
        super().close()


class DatabaseServer(Server):
    """A database server, which is set up and asked by further programs of its own."""

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._program(name), *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=self.user,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr or done.stdout}")

    @staticmethod
    @abstractmethod
    def _program(name: str) -> str:
        """Return the path of one of its programs."""


class PostgresServer(DatabaseServer):
    """A PostgreSQL cluster of its own, made with `initdb`; its superuser is `postgres`, without a password.

    PostgreSQL refuses to run as root: then it runs as the system user `postgres`.
    """

    stop_signal = signal.SIGINT  # "fast": ends sessions instead of waiting for them

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_prepared_transactions": "20",
            "fsync": "off",
            **(settings or {}),
        }
        self._data = self.folder / "data"
        if os.getuid() == 0:
            self.user = "postgres"
            shutil.chown(self.folder, self.user)

    def command(self) -> list[str]:
        """Return the command line of the server, after making its cluster the first time."""
        if not self._data.exists():
            self._make_data()
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return [self._program("postgres"), "-D", str(self._data), "-p", str(self.port), *settings]

    def _make_data(self) -> None:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run("initdb", f"--pgdata={self._data}", *options)

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        arguments = [self._program("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(arguments, check=False).returncode == 0

    def kill(self) -> None:
        """Have every server process quit at once, as a crash would ("immediate": recovery at the next start)."""
        # SIGKILL would take the postmaster alone and leave its backends holding the shared memory for a while.
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        self._ended()

    def create_database(self) -> str:
        """Create an empty database and return its name."""
        name = f"test_{uuid.uuid4().hex}"
        self._sql(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions in it."""
        self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, driver: str, database: str) -> str:
        """Return SQLAlchemy's URL of a database for a driver: `asyncpg`, `psycopg`."""
        return f"postgresql+{driver}://postgres@{HOST}:{self.port}/{database}"

    def _sql(self, statement: str) -> None:
        # Hundreds of tests have a database of their own: psql would take longer to start than most of them.
        with psycopg.connect(host=HOST, port=self.port, user="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    @staticmethod
    def _program(name: str) -> str:
        # Debian keeps the server's programs off PATH, in one folder per major version: the newest first.
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
        return find_program(name, "postgresql", folders[::-1])


class PostgresReplica(PostgresServer):
    """A streaming replica of a running PostgreSQL; `lag` is how late, in seconds, it shows what was committed."""

    def __init__(self, primary: PostgresServer, *, lag: float = 0.0, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(settings={"recovery_min_apply_delay": f"{round(lag * 1000)}ms", **(settings or {})})
        self._primary = primary

    def promote(self) -> None:
        """Make it a primary of its own, which has what it has received, and wait until it is."""
        self._sql("SELECT pg_promote()")

    def _make_data(self) -> None:
        source = ["-h", HOST, "-p", str(self._primary.port), "-U", "postgres"]
        options = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        self._run("pg_basebackup", *source, f"--pgdata={self._data}", *options)


class MariaDBServer(DatabaseServer):
    """A MariaDB of its own; its administrator is `root`, without a password. Further arguments are passed on to it.

    MariaDB refuses to run as root: then it runs as the system user `mysql`.
    """

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self._arguments = arguments
        self._data = self.folder / "data"
        self._socket = self.folder / "mariadb.sock"
        if os.getuid() == 0:
            self.user = "mysql"
            shutil.chown(self.folder, self.user)

    def command(self) -> list[str]:
        """Return the command line of the server, after making its system tables the first time."""
        if not self._data.exists():
            options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
            self._run("mariadb-install-db", "--no-defaults", f"--datadir={self._data}", *options)
        own = [
            f"--datadir={self._data}",
            f"--socket={self._socket}",
            f"--pid-file={self.folder / 'mariadb.pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
        ]
        return [self._program("mariadbd"), "--no-defaults", *own, *self._arguments]

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            return b"MariaDB" in connection.recv(256)

    def create_database(self) -> str:
        """Create an empty database and return its name."""
        name = f"test_{uuid.uuid4().hex}"
        self._sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database."""
        self._sql(f"DROP DATABASE {name}")

    def url(self, driver: str, database: str) -> str:
        """Return SQLAlchemy's URL of a database for a driver: `pymysql`, `aiomysql`."""
        return f"mariadb+{driver}://root@{HOST}:{self.port}/{database}"

    def _sql(self, statement: str) -> None:
        self._run("mariadb", "--no-defaults", f"--socket={self._socket}", "--user=root", f"--execute={statement}")

    @staticmethod
    def _program(name: str) -> str:
        return find_program(name, "mariadb-server", [Path("/usr/sbin")])


AppServerProgram: TypeAlias = Literal["uvicorn", "granian", "hypercorn"]

_APP_SERVER_OPTIONS: Final[Mapping[AppServerProgram, Sequence[str]]] = {
    "uvicorn": ["--lifespan", "on"],
    "granian": ["--interface", "asgi"],
    "hypercorn": [],
}


# What each worker prints when it serves, or is about to.
_STARTED: Final[Mapping[AppServerProgram, str]] = {
    "uvicorn": "Started server process",
    "granian": "Started worker-",
    "hypercorn": "Running on",
}


class AppServer(Server):
    """An ASGI app, named by its import string (`"package.module:app"`), served by uvicorn, granian or hypercorn.

    `options` are further arguments of the server (`"--ws", "wsproto"`), and override those that it is given anyhow.
    `env` is added to this process's environment; the app is imported from `cwd` (the repository when left out).
    """

    def __init__(
        self,
        app: str,
        *,
        server: AppServerProgram = "uvicorn",
        workers: int = 1,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        factory: bool = False,
        ready_path: str = "/",
    ) -> None:
        super().__init__()
        self._app = app
        self._server = server
        self._workers = workers
        self._options = options
        self._env = dict(env or {})
        self._cwd = cwd or Path(__file__).parents[2]
        self._factory = factory
        self._ready_path = ready_path
        self._printed_before = 0

    @property
    def base_url(self) -> str:
        """The server's URL, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> Self:
        """Start the server and wait, at most 60 seconds, until all its workers have started and one answers."""
        self._printed_before = len(self.output())
        return super().start()

    def command(self) -> list[str]:
        """Return the command line of the app's server."""
        own = [*_APP_SERVER_OPTIONS[self._server], *self._options, "--workers", str(self._workers)]
        program = [sys.executable, "-m", self._server]
        if self._server == "hypercorn":  # which evaluates what comes after the colon
            app = f"{self._app}()" if self._factory else self._app
            return [*program, "--bind", f"{HOST}:{self.port}", *own, app]
        factory = ["--factory"] if self._factory else []
        return [*program, "--host", HOST, "--port", str(self.port), *factory, *own, self._app]

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the app's own settings, its PORT among them."""
        return {**os.environ, "PYTHONUNBUFFERED": "1", "PORT": str(self.port), **self._env}

    def working_folder(self) -> Path:
        """Return the folder that the app is imported from."""
        return self._cwd

    def is_ready(self) -> bool:
        """Say whether all workers have started, and one answers a request, whatever the status."""
        # All workers are waited for: granian's go on for ever if they are told to end while they start.
        have_started = self.output()[self._printed_before :].count(_STARTED[self._server])
        return have_started >= self._workers and self.answers()

    def answers(self) -> bool:
        """Say whether it answers a request, whatever the status; an OSError counts as no."""
        return answers(self.port, self._ready_path)
