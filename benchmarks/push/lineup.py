"""Who pushes, by the names that the tables call them."""

from dataclasses import dataclass, field

from benchmarks.push.crowd import Kind


@dataclass(frozen=True)
class Contestant:
    """An app in `benchmarks.contestants`, on uvicorn; or a program there that is a server by itself."""

    name: str
    app: str = ""
    program: str = ""
    packages: tuple[str, ...] = ()
    """What it imports that an environment may lack, by the names of the modules."""
    is_factory: bool = False
    has_lifespan: bool = True
    is_ours: bool = False
    fires_by: str = "POST"
    note: str = ""
    env: dict[str, str] = field(default_factory=dict)


FLOOR = "floor: a loop of plain socket writes in a bare asyncio server"
RAW = "uvicorn alone: ASGI `send` in a loop"
OURS = "cache_revalidate"

_SOCKETS = ("websockets",)

STREAMS = (
    Contestant(FLOOR, program="push_floor"),
    Contestant(RAW, "push_raw:app"),
    Contestant(OURS, "push_ours:memory", is_factory=True, is_ours=True),
    Contestant("Starlette, StreamingResponse with a queue each", "push_starlette:app"),
    Contestant("sse-starlette, with a queue each", "push_sse_starlette:app", packages=("sse_starlette",)),
    Contestant("FastAPI's EventSourceResponse, with a queue each", "push_fastapi:app", packages=("fastapi.sse",)),
    Contestant("Litestar, ServerSentEvent with channels in memory", "push_litestar:app"),
    Contestant("broadcaster in memory, StreamingResponse", "push_broadcaster:app", packages=("broadcaster",)),
)
SOCKETS = (
    Contestant(FLOOR, program="push_floor"),
    Contestant(RAW, "push_raw:app", packages=_SOCKETS),
    Contestant(OURS, "push_ours:memory", packages=_SOCKETS, is_factory=True, is_ours=True),
    Contestant(
        "`websockets` on its own server, `broadcast()`", program="push_websockets", packages=_SOCKETS, fires_by="GET"
    ),
    Contestant("Starlette, FastAPI's ConnectionManager", "push_starlette:app", packages=_SOCKETS),
    Contestant("Litestar, channels in memory", "push_litestar:app", packages=_SOCKETS),
    Contestant("broadcaster in memory, Starlette", "push_broadcaster:app", packages=("broadcaster", *_SOCKETS)),
)
LINEUP: dict[Kind, tuple[Contestant, ...]] = {"sse": STREAMS, "websocket": SOCKETS}
