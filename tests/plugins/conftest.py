"""What the tests of every plugin stand on."""

from pathlib import Path

import pytest

from cache_revalidate import Revalidator
from tests.plugins.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The desk behind an app."""
    file = tmp_path / "labels.csv"
    file.write_text("id,title\n1,urgent\n")
    return Desk(file)


@pytest.fixture
def revalidator() -> Revalidator:
    """A revalidator of two models in memory."""
    return Revalidator(["label", "team"])
