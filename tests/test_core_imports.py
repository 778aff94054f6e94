"""The core needs the standard library alone, and says which extra is missing when one is."""

import subprocess
import sys
from pathlib import Path

import pytest

import cache_revalidate

EXTRAS = {
    "cache_revalidate.stores.redis": "redis",
    "cache_revalidate.starlette": "starlette",
    "cache_revalidate.fastapi": "fastapi",
    "cache_revalidate.litestar": "litestar",
}

WITHOUT_EXTRAS = """
import sys
from importlib.abc import MetaPathFinder

class NothingElse(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in {"cache_revalidate", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NothingElse())
sys.path.append(sys.argv[1])
"""


def run_without_extras(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own that finds the standard library and `cache_revalidate`, nothing else."""
    folder = str(Path(cache_revalidate.__file__).parents[1])
    arguments = [sys.executable, "-I", "-S", "-W", "error", "-c", WITHOUT_EXTRAS + code, folder]
    return subprocess.run(arguments, check=False, capture_output=True, text=True)


def test_core_imports_without_any_extra() -> None:
    """Every public name (RedisStore, which comes on demand, is not among them) is there with no extra installed."""
    done = run_without_extras(
        "import cache_revalidate\nfor name in cache_revalidate.__all__:\n    getattr(cache_revalidate, name)\n"
    )
    assert done.returncode == 0, done.stderr


def test_core_works_without_any_extra() -> None:
    """A revalidator on a memory store bumps with no extra installed."""
    done = run_without_extras(
        "import asyncio\n"
        "from cache_revalidate import MemoryStore, Revalidator\n"
        "revalidator = Revalidator(['label', 'team'], MemoryStore())\n"
        "before = asyncio.run(revalidator.tokens(1))\n"
        "revalidator.sync.bump(1, 'label')\n"
        "after = asyncio.run(revalidator.tokens(1))\n"
        "assert before['team'] == after['team']\n"
        "assert before['label'] < after['label']\n"
    )
    assert done.returncode == 0, done.stderr


def test_extras_are_hidden() -> None:
    """What these tests hide is hidden indeed."""
    assert "No module named 'pytest'" in run_without_extras("import pytest").stderr


@pytest.mark.parametrize("module", EXTRAS)
def test_missing_extra_is_named(module: str) -> None:
    """A module whose extra is not installed says what to install."""
    done = run_without_extras(f"import {module}")
    assert "ImportError" in done.stderr
    assert f'pip install "cache-revalidate[{EXTRAS[module]}]"' in done.stderr


def test_redis_store_names_its_extra() -> None:
    """Asking the root for RedisStore without its extra says what to install."""
    done = run_without_extras("from cache_revalidate import RedisStore")
    assert 'pip install "cache-revalidate[redis]"' in done.stderr


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that the root does not have is reported as any module reports it."""
    with pytest.raises(AttributeError, match="has no attribute 'RedisStorm'"):
        cache_revalidate.RedisStorm  # noqa: B018
