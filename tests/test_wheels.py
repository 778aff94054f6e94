"""Both distributions build, hold what they should, and do their work when they are installed from their wheels."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCES = {
    "cache_revalidate": REPOSITORY / "src",
    "cache_revalidate_sqlalchemy": REPOSITORY / "adapters/sqlalchemy/src",
}
NAMES = tuple(SOURCES)

REPEATED = (
    "tests/test_core_imports.py",  # the core alone, and what its extras add
    "tests/stores/test_contract.py::TestMemoryStore",  # the contract that `testing` ships
    "tests/stores/test_contract.py::TestRedisStore",  # hash.lua and token.lua
    "tests/stores/test_contract.py::TestRedisStoreInChatwootsLayout",  # strings.lua
    "tests/middleware/test_keys_endpoint.py",
    "tests/plugins/test_starlette.py",
    "tests/plugins/test_fastapi.py",
    "tests/plugins/test_litestar_setup.py",
    "tests/docs/test_quickstart.py::test_the_quickstart_does_what_it_says[Starlette]",  # in a server's own process
    "adapters/sqlalchemy/tests/test_attach.py",  # after which the core has what its extra promises
    "adapters/sqlalchemy/tests/durable/test_function.py",  # fold.sql
    "adapters/sqlalchemy/tests/triggers/test_alembic.py::test_the_function_comes_and_goes",
)
"""A wheel breaks the code in two ways: a file is missing, or is looked for where a source tree would have it. The files
are compared with the sources' and all modules imported, so what is left are those who read files that are not modules,
and one user of each kind: a store, a framework, a server, a database. The other tests would find nothing more.
"""

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    print(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
        print(module.name)
"""


@dataclass(frozen=True)
class Built:
    """The files that the builds made."""

    folder: Path

    def wheel(self, name: str) -> Path:
        """Return a distribution's wheel."""
        return next(self.folder.glob(f"{name}-*.whl"))

    def sdist(self, name: str) -> Path:
        """Return a distribution's source archive."""
        return next(self.folder.glob(f"{name}-*.tar.gz"))


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command, which must succeed, and return what it printed. It finds no package by way of this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=environment,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build both source archives, and from each archive its wheel."""
    folder = tmp_path_factory.mktemp("dist")
    for source in SOURCES.values():
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source.parent)
    return Built(folder)


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the Python of a new environment: both wheels, and this environment's packages but those two."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin/python"
    wheels = [built.wheel(name) for name in NAMES]
    run(python, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps", *wheels)
    # A folder named in a .pth file has its own .pth files left alone, the editable installs' among them.
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="session")
def without_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the repository without the packages' sources, nor what the tools leave behind."""
    folder = tmp_path_factory.mktemp("without-sources")
    left_out = shutil.ignore_patterns("src", ".*", "_build", "__pycache__")
    shutil.copytree(REPOSITORY, folder, ignore=left_out, dirs_exist_ok=True)
    return folder


def source_files(name: str) -> set[str]:
    """Return the files of a package, as a wheel names them."""
    files = (SOURCES[name] / name).rglob("*")
    return {
        file.relative_to(SOURCES[name]).as_posix()
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }


def modules_of(name: str) -> set[str]:
    """Return the names of a package's modules."""
    files = (Path(file).with_suffix("") for file in source_files(name) if file.endswith(".py"))
    return {".".join(file.parent.parts if file.name == "__init__" else file.parts) for file in files}


def metadata_of(wheel: Path) -> Message:
    """Return what a wheel says of its distribution."""
    with zipfile.ZipFile(wheel) as archive:
        [file] = [file for file in archive.namelist() if file.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(file))


@pytest.mark.parametrize("name", NAMES)
def test_wheel_holds_the_package_alone(name: str, built: Built) -> None:
    """A wheel holds every file of its package (scripts and py.typed too), the licence, and nothing else."""
    with zipfile.ZipFile(built.wheel(name)) as archive:
        files = set(archive.namelist())
    about = {file for file in files if ".dist-info/" in file}
    assert f"{name}/py.typed" in files
    assert files - about == source_files(name)
    assert [file for file in about if file.endswith("/licenses/LICENSE")]


@pytest.mark.parametrize("name", NAMES)
def test_source_archive_holds_the_sources(name: str, built: Built) -> None:
    """A source archive holds what its wheel is built from, and no tests."""
    with tarfile.open(built.sdist(name)) as archive:
        files = {file.partition("/")[2] for file in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= files
    assert {f"src/{file}" for file in source_files(name)} <= files
    assert not [file for file in files if "test_" in file]


def test_core_needs_nothing(built: Built) -> None:
    """The core's wheel requires no package, but for its extras."""
    required = metadata_of(built.wheel("cache_revalidate")).get_all("Requires-Dist", [])
    assert [line for line in required if "extra ==" not in line] == []
    assert {line.rpartition("extra == ")[2].strip("'\"") for line in required} == {
        "redis",
        "starlette",
        "fastapi",
        "litestar",
        "sqlalchemy",
    }


def test_extra_matches_the_adapters_version(built: Built) -> None:
    """Both distributions have one version."""
    versions = {metadata_of(built.wheel(name))["Version"] for name in NAMES}
    assert len(versions) == 1


@pytest.mark.parametrize("name", NAMES)
def test_wheel_is_what_is_imported(name: str, installed: Path) -> None:
    """In the new environment, the packages are those of the wheels."""
    file = Path(run(installed, "-c", f"import {name}; print({name}.__file__)").strip())
    assert file.is_relative_to(installed.parents[1])


def test_types_reach_the_users_of_a_wheel(installed: Path, without_sources: Path) -> None:
    """A type checker takes the types from the installed wheels."""
    options = ["--config-file=", "--strict", f"--python-executable={installed}"]
    run(sys.executable, "-m", "mypy", *options, "tests/typing", cwd=without_sources)


def test_every_module_can_be_imported(installed: Path) -> None:
    """Each module of the wheels finds what it imports."""
    printed = run(installed, "-c", IMPORT_ALL, *NAMES)
    assert set(printed.split()) == {module for name in NAMES for module in modules_of(name)}


def test_installed_wheels_pass_the_tests(installed: Path, without_sources: Path) -> None:
    """The tests that a wheel could fail pass on the installed wheels, with no source in reach."""
    output = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", *REPEATED, cwd=without_sources)
    assert " passed" in output
