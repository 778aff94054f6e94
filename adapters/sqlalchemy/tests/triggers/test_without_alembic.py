"""The adapter in an app without Alembic."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["alembic"] = None  # as if it were not installed
sys.modules["alembic.autogenerate"] = None
import cache_revalidate_sqlalchemy
from cache_revalidate_sqlalchemy import Triggers
import cache_revalidate_sqlalchemy.alembic
"""


def test_the_missing_extra_is_named() -> None:
    """Triggers need no Alembic; the module of its operations says what to install."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True)
    assert 'pip install "cache-revalidate-sqlalchemy[alembic]"' in done.stderr
    assert "line 7" in done.stderr
