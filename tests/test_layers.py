"""Imports point one way: the layers of the library, and who may import which package from outside."""

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
CORE = "cache_revalidate"
ADAPTER = "cache_revalidate_sqlalchemy"
SOURCES = {CORE: REPOSITORY / "src", ADAPTER: REPOSITORY / "adapters/sqlalchemy/src"}

ROOT = "(root)"
"""`cache_revalidate` itself: the public names, gathered from the layers below it."""

LAYERS = (
    ("types", "exceptions", "token", "tenants", "fingerprint", "memo", "records", "minted", "bound", "http"),
    ("stores",),
    ("revalidator",),
    (
        *(
            "access",
            "tickets",
            "routing",
            "answer",
            "policy",
            "question",
            "own_headers",
            "freshness",
            "endpoints",
            "push",
        ),
        *(
            "exchange",
            "outgoing",
            "declaration",
            "middleware",
            "starlette_response",
            "fastapi_push",
            "litestar_push",
            "litestar_response",
        ),
    ),
    (ROOT,),
    ("starlette", "fastapi", "litestar", "testing"),
)
"""What lies directly in `cache_revalidate`, lowest layer first. A module imports its own layer and those below."""

APART = set(LAYERS[-1])
"""The plugins, of which an app has one or another, and the shipped test suite: they never import each other."""

OUTSIDE: Mapping[str, frozenset[str]] = {
    "cache_revalidate.stores.redis": frozenset({"redis"}),
    "cache_revalidate.starlette": frozenset({"starlette"}),
    "cache_revalidate.starlette_response": frozenset({"starlette"}),
    "cache_revalidate.fastapi": frozenset({"fastapi", "starlette"}),
    "cache_revalidate.fastapi_push": frozenset({"fastapi", "starlette"}),
    "cache_revalidate.litestar": frozenset({"litestar"}),
    "cache_revalidate.litestar_push": frozenset({"litestar"}),
    "cache_revalidate.litestar_response": frozenset({"litestar"}),
    "cache_revalidate.testing": frozenset({"pytest"}),
    ADAPTER: frozenset({"sqlalchemy", CORE}),
    "cache_revalidate_sqlalchemy.alembic": frozenset({"alembic"}),
    "cache_revalidate_sqlalchemy.alembic_function": frozenset({"alembic"}),
}
"""The packages that a module, or what lies in it, may import besides the standard library."""

Sources = Mapping[str, str]


def modules_of(package: str) -> dict[str, str]:
    """Return the source of each module of a package, by dotted name; a package goes by its own name."""
    found = {}
    for file in sorted((SOURCES[package] / package).rglob("*.py")):
        parts = file.relative_to(SOURCES[package]).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = file.read_text()
    return found


def imports_of(module: str, sources: Sources) -> set[str]:
    """Return the modules that a module imports, wherever in it, those for the type checker alone included."""
    is_package = any(name.startswith(f"{module}.") for name in sources)
    package = module if is_package else module.rpartition(".")[0]
    imported: set[str] = set()
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            names = {f"{origin}.{alias.name}" for alias in node.names}
            submodules = names & sources.keys()
            imported |= submodules
            if names - submodules:
                imported.add(origin)
    return imported


def place_of(module: str) -> str:
    """Return what directly in `cache_revalidate` a module of it lies in."""
    return module.split(".")[1] if "." in module else ROOT


def layer_of(module: str) -> int:
    """Return the number of a module's layer; KeyError if the table does not place it."""
    return {place: number for number, layer in enumerate(LAYERS) for place in layer}[place_of(module)]


def is_within(module: str, outer: str) -> bool:
    """Say whether a module is another one or lies in it."""
    return module == outer or module.startswith(f"{outer}.")


def wrong_arrows(sources: Sources) -> Iterator[str]:
    """Tell each import of the core that points up, or from one plugin to another."""
    for module in sources:
        for imported in imports_of(module, sources):
            if not is_within(imported, CORE):
                continue
            sideways = place_of(imported) != place_of(module) and {place_of(imported), place_of(module)} <= APART
            if sideways or layer_of(imported) > layer_of(module):
                yield f"{module} imports {imported}"


def foreign_imports(package: str, sources: Sources) -> Iterator[str]:
    """Tell each import of a package from outside that the table does not allow."""
    for module in sources:
        allowed = {package, *sys.stdlib_module_names}
        allowed.update(*(names for outer, names in OUTSIDE.items() if is_within(module, outer)))
        for imported in imports_of(module, sources):
            if imported.partition(".")[0] not in allowed:
                yield f"{module} imports {imported}"


def test_every_module_has_a_layer() -> None:
    """A new module fails this test until it is placed in the table, and one that is gone until it is taken out."""
    placed = {place for layer in LAYERS for place in layer}
    assert {place_of(module) for module in modules_of(CORE)} == placed


def test_core_imports_point_down() -> None:
    """No module of the core imports a layer above its own, and no plugin another plugin."""
    assert list(wrong_arrows(modules_of(CORE))) == []


@pytest.mark.parametrize("package", [CORE, ADAPTER])
def test_outside_packages_are_imported_where_they_belong(package: str) -> None:
    """Frameworks are imported by their plugin alone, redis by its store alone, SQLAlchemy by the adapter alone."""
    assert list(foreign_imports(package, modules_of(package))) == []


def test_adapter_uses_the_public_root_alone() -> None:
    """The adapter imports nothing that lies deeper in the core than its root."""
    sources = modules_of(ADAPTER)
    deep = {name for module in sources for name in imports_of(module, sources) if name.startswith(f"{CORE}.")}
    assert deep == set()


@pytest.mark.parametrize("package", [CORE, ADAPTER])
def test_imports_make_no_circle(package: str) -> None:
    """Modules can be put in an order in which each imports only those before it."""
    sources = modules_of(package)
    graph = {module: imports_of(module, sources) & sources.keys() for module in sources}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cache_revalidate.token", "from cache_revalidate.stores import Store"),
        ("cache_revalidate.token", "from cache_revalidate import stores"),
        ("cache_revalidate.token", "from .stores import Store"),
        ("cache_revalidate.stores", "def f():\n    import cache_revalidate.revalidator"),
        ("cache_revalidate.middleware", "import cache_revalidate.starlette"),
        ("cache_revalidate.fastapi", "import cache_revalidate.starlette"),
        ("cache_revalidate.revalidator", "from cache_revalidate import Store"),
    ],
)
def test_wrong_arrow_is_found(module: str, source: str) -> None:
    """An import that points up or sideways is found, however it is written and wherever it stands."""
    sources = {CORE: "", "cache_revalidate.stores": "", module: source}
    assert len(list(wrong_arrows(sources))) == 1


@pytest.mark.parametrize("name", ["redis", "starlette", "sqlalchemy.orm", "msgspec"])
def test_foreign_import_is_found(name: str) -> None:
    """A package from outside is found where the table does not allow it."""
    assert list(foreign_imports(CORE, {"cache_revalidate.stores.memory": f"import {name}"})) == [
        f"cache_revalidate.stores.memory imports {name}"
    ]
