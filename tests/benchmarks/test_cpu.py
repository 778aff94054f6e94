"""The reader of CPU time."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from benchmarks.cpu import cpu_seconds

SPIN = "import time\nwhile time.process_time() < {seconds}: pass\n"
SPIN_AND_WAIT = SPIN + "print('done', flush=True)\ninput()\n"
FORKING = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', {program!r}], stdout=subprocess.PIPE, stdin=subprocess.PIPE)\n"
    "child.stdout.readline()\n"
    "print('done', flush=True)\n"
    "input()\n"
    "child.communicate(b'\\n')\n"
)


@pytest.fixture
def spinning(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give the id of a process that has run a program to the point where it waits."""
    with subprocess.Popen(
        [sys.executable, "-c", request.param], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.write(b"\n")


@pytest.mark.parametrize("spinning", [SPIN_AND_WAIT.format(seconds=0.4)], indirect=True)
def test_a_known_spin_is_read(spinning: int) -> None:
    """A process that has spun for 0.4 s of CPU time, and waits, has taken that and hardly more."""
    assert cpu_seconds(spinning) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("spinning", [FORKING.format(program=SPIN_AND_WAIT.format(seconds=0.4))], indirect=True)
def test_what_was_forked_counts(spinning: int) -> None:
    """The time of a living child is counted with its parent's, as for servers that have workers."""
    assert cpu_seconds(spinning) == pytest.approx(0.45, abs=0.15)
