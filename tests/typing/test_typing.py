"""The public names have the types that the files beside this one assert, and refuse what those ignore."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]


def check(*files: Path) -> str:
    """Return what mypy, strict as the repository sets it, says of files."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, files)], check=False, capture_output=True, text=True, cwd=REPOSITORY
    )
    return done.stdout + done.stderr


def test_types_are_as_asserted() -> None:
    """The checker finds each asserted type, and an error on each line that ignores one."""
    files = [file for file in FOLDER.glob("*.py") if file != Path(__file__)]
    assert check(*files).startswith("Success")


def test_wrong_assertions_are_found(tmp_path: Path) -> None:
    """A type that is not as asserted is an error, and so is an expected error that is not there."""
    file = tmp_path / "wrong.py"
    file.write_text(
        "from typing import assert_type\n"
        "from cache_revalidate import Revalidator\n"
        "def check(revalidator: Revalidator) -> None:\n"
        "    assert_type(revalidator.tenant(1), int)\n"
        "    revalidator.tenant(1)  # type: ignore[arg-type]\n"
    )
    said = [line for line in check(file).splitlines() if ": error: " in line]
    assert [line.rpartition("  ")[2] for line in said] == ["[assert-type]", "[unused-ignore]"]
    assert [line.split(":")[1] for line in said] == ["4", "5"]
