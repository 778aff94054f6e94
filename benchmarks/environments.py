"""The environments that contestants run in: one for this library and the frameworks, one for each peer."""

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / ".venv-bench"
APPS = "bench"
"""The environment of the benchmark's own apps. A peer's is `bench-NAME`; each is named after its requirements."""
PUSH = "bench-push"
"""That of all that push, this library among them."""


class MissingEnvironmentError(Exception):
    """An environment is not there; the message says why."""


def python_of(name: str) -> Path:
    """Return the path of an environment's interpreter, installed or not."""
    return FOLDER / name / "bin/python"


def requirements_of(name: str) -> Path:
    """Return the file that names an environment's packages, with their hashes."""
    return REPOSITORY / "requirements" / f"{name}.txt"


class Environments:
    """Finds the environments; `stand_in` is an interpreter that serves for `APPS` and `PUSH` where they lack."""

    def __init__(self, stand_in: Path | None = None) -> None:
        self._stand_in = stand_in

    def python(self, name: str) -> Path:
        """Return an environment's interpreter. Raises `MissingEnvironmentError`."""
        if is_installed(name):
            return python_of(name)
        if name in {APPS, PUSH} and self._stand_in is not None:
            return self._stand_in
        raise MissingEnvironmentError(f"the environment {name} is not installed: `make bench` does it")


def is_installed(name: str) -> bool:
    """Say whether an environment has what its requirements name at present."""
    stamp = _stamp(name)
    return stamp.exists() and stamp.read_text() == _digest(name)


def installed(name: str) -> dict[str, str]:
    """Return the versions of what is in an environment, by package; nothing for one that is not there."""
    folders = (FOLDER / name).glob("lib/python*/site-packages/*.dist-info")
    pairs = (folder.name.removesuffix(".dist-info").partition("-") for folder in folders)
    return {package.replace("_", "-").lower(): version for package, _, version in pairs}


def install(names: Iterable[str]) -> dict[str, str]:
    """Install the environments that are missing or outdated; return why others could not be, by name."""
    failures = {}
    for name in names:
        if is_installed(name):
            continue
        print(f"installing {name}", file=sys.stderr, flush=True)
        try:
            _install(name)
        except subprocess.CalledProcessError as error:
            failures[name] = (error.stderr or str(error)).strip().splitlines()[-1]
    return failures


def _install(name: str) -> None:
    python = str(python_of(name))
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(FOLDER / name)],
        [python, *pip, "-r", str(requirements_of(name))],
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)
    _stamp(name).write_text(_digest(name))


def _stamp(name: str) -> Path:
    return FOLDER / name / "requirements.sha256"


def _digest(name: str) -> str:
    return hashlib.sha256(requirements_of(name).read_bytes()).hexdigest()
