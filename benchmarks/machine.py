"""What the benchmark ran on, and with what."""

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.bench import Size
from benchmarks.environments import APPS, REPOSITORY, requirements_of

_SHOWN = (
    "uvicorn",
    "uvloop",
    "httptools",
    "granian",
    "starlette",
    "fastapi",
    "litestar",
    "sqlalchemy",
    "asyncpg",
    "redis",
)


def facts(size: Size) -> dict[str, str]:
    """Return the facts, by what they are."""
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", requirements_of(APPS).read_text(), re.MULTILINE))
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {pins[name]}" for name in _SHOWN if name in pins),
        "rounds": str(size.rounds),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _output(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    return done.stdout.strip() or "unknown"
