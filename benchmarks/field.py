"""The field of an HTTP comparison: every contestant on a running server, its answers checked, ready to be sampled."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Final, Self

from tests.support.servers import HOST, PostgresServer, RedisServer, Server

from benchmarks import cores, wrk
from benchmarks.answers import AnswerError, Client, check, sign_in
from benchmarks.bench import Bench, ServerName
from benchmarks.contestants.desk import PATH
from benchmarks.cpu import cpu_seconds
from benchmarks.environments import MissingEnvironmentError
from benchmarks.lineup import Contestant
from benchmarks.rounds import Samples, interleave
from benchmarks.servers import MeasuredApp, MeasuredNginx, MeasuredVarnish

_TRIES: Final = 3


class _Running:
    """A contestant whose answers were right."""

    def __init__(self, contestant: Contestant, server: Server, seconds: int) -> None:
        self._contestant = contestant
        self._server = server
        self._seconds = seconds
        self._client = Client(server.port)
        self._headers: Mapping[str, str] = {}

    def check(self) -> None:
        """Check the answers, and learn which request to measure. Raises `AnswerError`."""
        contestant = self._contestant
        signed_in = sign_in(self._client, contestant.sign_in, contestant.headers)
        self._headers = check(self._client, contestant.kind, signed_in, guarded=contestant.is_guarded)

    async def sample(self, connections: int) -> float:
        """Return the CPU time that one request took the server, in microseconds. Raises `AnswerError`.

        The answers are checked before and after, as some contestants' tags end in time: what is answered in full by
        then is measured anew.
        """
        url = f"http://{HOST}:{self._server.port}{PATH}"
        for _ in range(_TRIES):
            self.check()
            status = self._client.get(PATH, self._headers).status
            before = cpu_seconds(self._server.process_id)
            answered = wrk.send(url, self._headers, connections=connections, seconds=self._seconds)
            taken = cpu_seconds(self._server.process_id) - before
            if self._client.get(PATH, self._headers).status == status:
                return taken / answered * 1e6
        raise AnswerError(f"{self._contestant.name} answers {status} no longer after each second of load")


class Field:
    """Starts the contestants; `with` stops them. Those that can't be had, or answer wrongly, are in `missing`."""

    def __init__(self, bench: Bench, contestants: Iterable[Contestant], server: ServerName) -> None:
        self._bench = bench
        self._contestants = [each for each in contestants if server in each.servers]
        self._server: ServerName = server
        self._stack = ExitStack()
        self._running: dict[str, _Running] = {}
        self.missing: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    async def measure(self, *, connections: int, only: Collection[str] | None = None) -> Samples:
        """Sample the contestants, or `only` some, interleaved; then check that all answer as they did before."""
        chosen = self._running.keys() & (only or self._running.keys()) & (self._bench.size.only or self._running.keys())
        samplers = {name: partial(each.sample, connections) for name, each in self._running.items() if name in chosen}
        # wrk has no round to warm up: the answers were checked, and what begins slowly is drowned by a second's load.
        samples = await interleave(
            samplers, rounds=self._bench.size.rounds, progress=self._bench.progress, warm_up=False
        )
        return samples.of([name for name in samples.names if self._is_right(name)])

    def _is_right(self, name: str) -> bool:
        try:
            self._running[name].check()
        except (AnswerError, OSError) as error:
            self.missing.append(f"{name}: after the load {error}")
            return False
        return True

    def _start(self, stack: ExitStack) -> None:
        needs = {need for each in self._contestants for need in each.needs}
        with cores.on(cores.OTHERS):
            redis = stack.enter_context(RedisServer()) if "redis" in needs else None
            postgres = stack.enter_context(PostgresServer()) if "postgres" in needs else None
        for contestant in self._contestants:
            self._bench.progress.say(f"starting {contestant.name}")
            env = {"BENCH_REDIS_URL": redis.url} if redis else {}
            if postgres and "postgres" in contestant.needs:
                env["BENCH_DATABASE_URL"] = postgres.url("asyncpg", postgres.create_database())
            try:
                running = self._started(contestant, env, stack)
                running.check()
            except (MissingEnvironmentError, AnswerError, RuntimeError, OSError) as error:
                reason = str(error).strip().splitlines()[-1]
                self.missing.append(f"{contestant.name}: {reason}")
            else:
                self._running[contestant.name] = running

    def _started(self, contestant: Contestant, env: Mapping[str, str], stack: ExitStack) -> _Running:
        app = MeasuredApp(
            self._bench.environments.python(contestant.environment),
            f"benchmarks.contestants.{contestant.app}",
            server=self._server,
            is_factory=contestant.is_factory,
            env=env,
            has_lifespan=contestant.has_lifespan,
        )
        server: Server = stack.enter_context(app)
        if contestant.behind == "nginx":
            server = stack.enter_context(MeasuredNginx(app.base_url))
        elif contestant.behind == "varnish":
            server = stack.enter_context(MeasuredVarnish(app.port))
        return _Running(contestant, server, self._bench.size.seconds)
