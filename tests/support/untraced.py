"""Runs a program of ours where nothing else traces what Python does, as coverage does in the tests."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.counting import LIBRARY

REPOSITORY = Path(__file__).parents[2]


def printed_untraced(module: str) -> str:
    """Return what `python -m module` prints in a process of its own, with the same library."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(Path(LIBRARY).parent)
    command = [sys.executable, "-m", module]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
