"""The public names have the types that the files beside this one assert, and refuse what those ignore."""

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("assert_type(revalidator.tenant(1), int)", "assert-type"),
        ("revalidator.tenant(1)  # type: ignore[arg-type]", "unused-ignore"),
    ],
)
def test_wrong_assertion_is_found(line: str, error: str, tmp_path: Path) -> None:
    """A type that is not as asserted is an error, and so is an expected error that is not there."""
    file = tmp_path / "wrong.py"
    file.write_text(
        "from typing import assert_type\n"
        "from cache_revalidate import Revalidator\n"
        "def check(revalidator: Revalidator) -> None:\n"
        f"    {line}\n"
    )
    assert f"[{error}]" in check(file)
