"""The packages of the npm registry that other tests stand on."""

import json
from pathlib import Path

import pytest

from tests.support.npm import main_script

LOCK = Path(__file__).parents[1] / "js/package-lock.json"


def test_locked_package_is_installed() -> None:
    """A package that is locked is installed, with the script that its name stands for."""
    assert "createConsumer" in main_script("@rails/actioncable").read_text()


def test_missing_package_names_the_way_out() -> None:
    """A missing package is an error that names what installs it."""
    with pytest.raises(RuntimeError, match="no-such-package is not installed: make tests/js/node_modules"):
        main_script("no-such-package")


def test_lock_names_content_and_no_address() -> None:
    """Every locked package has the hash of its content, and none an address: the registry is for npm to know."""
    packages = json.loads(LOCK.read_text())["packages"]
    locked = {name: package for name, package in packages.items() if name}
    assert locked
    assert [name for name, package in locked.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in locked.items() if "resolved" in package] == []
