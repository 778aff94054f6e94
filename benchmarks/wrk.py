"""Drives wrk, the load generator: so many requests as it can send in whole seconds over some connections."""

import re
import subprocess
from collections.abc import Mapping

from tests.support.servers import find_program

from benchmarks import cores

_REQUESTS = re.compile(r"(\d+) requests in")
_FAILURES = re.compile(r"^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$", re.MULTILINE)


class LoadError(Exception):
    """Not every request was answered as it should be."""


def send(url: str, headers: Mapping[str, str], *, connections: int, seconds: int) -> int:
    """Send GET requests to `url` for some seconds; return how many were answered. Raises `LoadError`.

    Each connection sends the next request when it has the answer to the last.
    """
    program = find_program("wrk", "wrk")
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    fields = [option for name, value in headers.items() for option in ("--header", f"{name}: {value}")]
    done = subprocess.run(
        [*cores.pinned(cores.OTHERS), program, *options, *fields, url],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    if done.returncode:
        raise LoadError(f"wrk failed: {done.stderr or done.stdout}")
    return answered(done.stdout)


def answered(output: str) -> int:
    """Return how many requests wrk says were answered. Raises `LoadError` if some failed, or there were none."""
    if failures := _FAILURES.search(output):
        raise LoadError(failures[1])
    found = _REQUESTS.search(output)
    if found is None or not int(found[1]):
        raise LoadError(f"wrk was not answered: {output}")
    return int(found[1])
