"""Several worker processes on one database, and no Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending, empty

GetDatabase = Callable[..., Database]
ROOT = Path(__file__).parents[4]
WORKERS = 3


class Worker:
    """A process that writes and reads when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.answer()

    def tell(self, *command: str) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer to the oldest command."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "The worker has died."
        return json.loads(line)

    def ask(self, *command: str) -> Any:
        """Give a command and wait for its answer."""
        self.tell(*command)
        return self.answer()


@contextmanager
def worker(url: str) -> Iterator[Worker]:
    """Start a worker on a database."""
    paths = [str(ROOT), str(ROOT / "src"), str(ROOT / "adapters/sqlalchemy/src")]
    process = subprocess.Popen(
        [sys.executable, "-m", "adapters.sqlalchemy.tests.durable.worker", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        yield Worker(process)
    finally:
        process.communicate(timeout=15)
    assert process.returncode == 0


@pytest.mark.parametrize("driver", ["sqlite3", "psycopg", "pymysql"])
def test_no_process_answers_older(shared_database: GetDatabase, driver: str) -> None:
    """As soon as a commit has returned in one process, all others answer newer tokens than before, and the same."""
    database = shared_database(driver)
    with ExitStack() as stack:
        engine = stack.enter_context(database.sync_engine(driver))
        empty(engine)
        workers = [stack.enter_context(worker(database.url(driver))) for _ in range(WORKERS)]
        last = workers[0].ask("read")[0]
        for round_ in range(12):
            workers[round_ % WORKERS].ask("write", str(round_))
            for each in workers:
                each.tell("read")
            answers = [each.answer() for each in workers]
            assert {title for _, title in answers} == {str(round_)}
            assert len({token for token, _ in answers}) == 1
            assert answers[0][0] > last
            last = answers[0][0]
        # All at once, on one row: each writer's own read is no older than any read before it.
        for _ in range(5):
            for number, each in enumerate(workers):
                each.tell("write", str(number))
            for each in workers:
                each.answer()
            token, title = workers[0].ask("read")
            assert token > last
            assert [each.ask("read") for each in workers] == [[token, title]] * WORKERS
            last = token
        assert count_pending(engine) == 0
