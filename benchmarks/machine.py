"""What the benchmark ran on, and with what."""

import datetime as dt
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.bench import Size
from benchmarks.environments import REPOSITORY, installed

_SHOWN = (
    "uvicorn",
    "uvloop",
    "httptools",
    "granian",
    "starlette",
    "fastapi",
    "litestar",
    "django",
    "sqlalchemy",
    "asyncpg",
    "redis",
    "hiredis",
    "fastapi-cache2",
    "cashews",
    "fastapi-redis-sdk",
    "websockets",
    "sse-starlette",
    "broadcaster",
)


def facts(size: Size, environments: Iterable[str]) -> dict[str, str]:
    """Return the facts, by what they are; the packages are those of some environments."""
    versions = {name: version for each in environments for name, version in installed(each).items()}
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions),
        "rounds": str(size.rounds),
        "load": f"{os.getloadavg()[2]:.2f} processes wanted a core, on average of the last 15 minutes",
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _output(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    return done.stdout.strip() or "unknown"
