"""Rule 23: CORS set up as the HTTP page says lets a script of another origin revalidate, and see what it needs."""

from typing import Any

import httpx
import pytest
from litestar import Litestar, get
from litestar.config.cors import CORSConfig
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cache_revalidate import CacheRevalidateMiddleware, Revalidator, allow_everyone
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from tests.docs.pages import DOCS, blocks

ORIGIN = "https://desk.example"
LABELS = "/api/v1/accounts/1/labels"


def documented(name: str) -> Any:
    """Return what the page's CORS blocks call `name`."""
    (code,) = (block.code for block in blocks(DOCS / "http.md") if f"\n{name} = " in block.code)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace[name]


def starlette_app() -> Starlette:
    """Return an app with the page's Starlette set-up around ours."""

    async def labels(_: Request) -> JSONResponse:
        return JSONResponse([])

    ours = Middleware(
        CacheRevalidateMiddleware,
        revalidator=Revalidator(["label"]),
        authorize=allow_everyone,
        routes={"/api/v1/accounts/{account_id:int}/labels": ["label"]},
    )
    return Starlette(
        routes=[Route("/api/v1/accounts/{account_id:int}/labels", labels)], middleware=[documented("cors"), ours]
    )


def litestar_app(cors_config: CORSConfig) -> Litestar:
    """Return an app with a Litestar set-up beside our plugin."""

    @get("/api/v1/accounts/{account_id:int}/labels", opt={"revalidate": ["label"]})
    async def labels(account_id: FromPath[int]) -> list[int]:
        return []

    plugin = RevalidatePlugin(RevalidateConfig(Revalidator(["label"]), viewer=allow_everyone))
    return Litestar([labels], plugins=[plugin], cors_config=cors_config)


def client_of(app: Any) -> httpx.AsyncClient:
    """Return a client that names its origin, as a browser would."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test", headers={"origin": ORIGIN})


@pytest.mark.parametrize("framework", ["Starlette", "Litestar"])
async def test_a_script_of_another_origin_can_revalidate(framework: str) -> None:
    """The preflight allows `If-None-Match` and `Cache-Keys`; 200 and 304 both expose `ETag` and `Cache-Keys`."""
    app = starlette_app() if framework == "Starlette" else litestar_app(documented("cors_config"))
    async with client_of(app) as client:
        wanted = "authorization,cache-keys,if-none-match"
        asked = {"access-control-request-method": "GET", "access-control-request-headers": wanted}
        preflight = await client.options(LABELS, headers=asked)
        assert preflight.is_success
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert set(wanted.split(",")) <= {name.strip() for name in allowed.split(",")}
        first = await client.get(LABELS)
        second = await client.get(LABELS, headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, second.status_code) == (200, 304)
    for answer in (first, second):
        assert answer.headers["access-control-allow-origin"] in {"*", ORIGIN}
        assert {"ETag", "Cache-Keys"} <= set(answer.headers["access-control-expose-headers"].split(", "))
        assert {"Authorization", "Cookie"} <= set(answer.headers["vary"].split(", "))


async def test_litestar_overwrites_vary_for_a_listed_origin() -> None:
    """What the page warns of still happens; when this fails, the warning can go."""
    listed = CORSConfig(allow_origins=[ORIGIN])
    async with client_of(litestar_app(listed)) as client:
        assert (await client.get(LABELS)).headers["vary"] == "Origin"
    async with client_of(litestar_app(documented("cors_config"))) as client:
        assert (await client.get(LABELS, headers={"cookie": "a=b"})).headers["vary"] == "Origin"
