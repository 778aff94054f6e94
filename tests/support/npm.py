"""Packages of the npm registry: `make test` installs those that `tests/js` locks."""

import json
from pathlib import Path

_PACKAGES = Path("tests/js/node_modules")
_REPOSITORY = Path(__file__).parents[2]


def main_script(package: str) -> Path:
    """Return the script that a package gives to whoever loads it by name.

    Raises RuntimeError if it is not installed: a test of a real package fails without it, never skips.
    """
    folder = _REPOSITORY / _PACKAGES / package
    try:
        about = json.loads((folder / "package.json").read_text())
    except FileNotFoundError as error:
        raise RuntimeError(f"{package} is not installed: make {_PACKAGES}/made.stamp (`make test` does it)") from error
    script: str = about["main"]
    return folder / script
