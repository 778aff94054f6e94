"""Who is measured over HTTP, by the names that the tables call them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from benchmarks.answers import Kind
from benchmarks.bench import ServerName
from benchmarks.contestants.desk import AUTHORIZATION
from benchmarks.environments import APPS

Cache: TypeAlias = Literal["nginx", "varnish"]


@dataclass(frozen=True)
class Contestant:
    """An app in `benchmarks.contestants`, and how it is to be asked."""

    name: str
    app: str
    environment: str = APPS
    kind: Kind = "validates"
    is_factory: bool = False
    has_lifespan: bool = True
    is_guarded: bool = False
    """Whether it answers its agents alone."""
    sign_in: str | None = None
    needs: frozenset[Literal["redis", "postgres"]] = frozenset()
    behind: Cache | None = None
    """The cache in front of the app, which answers in its place."""
    servers: tuple[ServerName, ...] = ("uvicorn", "granian")
    is_ours: bool = False
    note: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: {"authorization": AUTHORIZATION})


def _ours(name: str, app: str, *needs: Literal["redis", "postgres"], sign_in: str | None = None) -> Contestant:
    return Contestant(
        name, app, is_factory=True, is_guarded=True, sign_in=sign_in, needs=frozenset(needs), is_ours=True
    )


BARE = "bare ASGI callable, a fixed 304"
OURS = "cache_revalidate, tokens in memory"
OURS_REDIS = "cache_revalidate, Redis"
OURS_DURABLE = "cache_revalidate, durable, copies in Redis"
MGET = "plain middleware, one Redis MGET a request"
ROWS = "route that reads 50 rows through async SQLAlchemy"
FASTAPI_CACHE2 = "fastapi-cache2, in memory"

CONDITIONAL = (
    Contestant(BARE, "bare:app", kind="fixed"),
    Contestant("the same with the headers of our 304", "bare:with_headers", kind="fixed"),
    _ours(OURS, "ours:memory"),
    _ours(OURS_REDIS, "ours:redis", "redis"),
    _ours(OURS_DURABLE, "ours:durable", "redis", "postgres"),
    _ours("cache_revalidate below Starlette's error handler", "ours:in_starlette"),
    _ours("cache_revalidate, authorize verifies a JWT", "ours:by_jwt", sign_in="/sign_in"),
    _ours("cache_revalidate, Starlette's session cookie", "ours:by_session", sign_in="/sign_in"),
    Contestant(MGET, "mget:app", is_factory=True, is_guarded=True, needs=frozenset({"redis"})),
    Contestant(
        FASTAPI_CACHE2,
        "peer_fastapi_cache2:app",
        environment="bench-fastapi-cache2",
        note="expires by time; asks nobody who they are",
    ),
    Contestant(
        "cashews, CacheEtagMiddleware, in memory",
        "peer_cashews:app",
        environment="bench-cashews",
        note="expires by time; asks nobody who they are",
    ),
    Contestant(
        "fastapi-redis-sdk",
        "peer_redis_sdk:app",
        environment="bench-fastapi-redis-sdk",
        needs=frozenset({"redis"}),
        note="expires by time; asks nobody who they are",
    ),
    Contestant(
        "Django's condition, ETag in a dict",
        "peer_django:app",
        has_lifespan=False,
        servers=("uvicorn",),
        note="asks nobody who they are",
    ),
    Contestant(
        "Litestar's response cache, in memory",
        "peer_litestar_cache:app",
        kind="rows",
        note="has no 304: sends the rows; expires by time",
    ),
    Contestant(ROWS, "rows:app", kind="rows", is_factory=True, needs=frozenset({"postgres"}), note="no cache at all"),
    Contestant(
        "nginx, from its cache",
        "origin:app",
        behind="nginx",
        servers=("uvicorn",),
        headers={},
        note="knows neither commits nor callers",
    ),
    Contestant(
        "Varnish, from its cache",
        "origin:app",
        behind="varnish",
        servers=("uvicorn",),
        headers={},
        note="knows neither commits nor callers",
    ),
)

BUSY = (BARE, OURS, OURS_REDIS, MGET, FASTAPI_CACHE2, ROWS)
"""Those that are measured on a saturated server, too."""

FRAMEWORKS = ("Starlette", "FastAPI", "Litestar")
HOW = {"Starlette": "decorator", "FastAPI": "dependency", "Litestar": "opt"}


def in_chain(framework: str) -> tuple[Contestant, ...]:
    """Return the contestants within a framework: its constant route first."""
    module = f"in_{framework.lower()}"
    return (
        Contestant(constant(framework), f"{module}:constant", kind="fixed", is_factory=True),
        Contestant(
            f"{framework}, the same behind a sign-in", f"{module}:constant_signed_in", kind="fixed", is_factory=True
        ),
        _ours(in_chain_name(framework), f"{module}:ours"),
    )


def constant(framework: str) -> str:
    """Return what the tables call a framework's constant route."""
    return f"{framework}, a route with a fixed 304"


def in_chain_name(framework: str) -> str:
    """Return what the tables call this library within a framework."""
    return f"{framework}, our {HOW[framework]}"
