"""What the Litestar plugin adds to an app when it is made, and what it refuses then."""

from functools import partial
from typing import Any

import pytest
from litestar import Litestar, Router, get, post
from litestar.config.response_cache import CACHE_FOREVER, ResponseCacheConfig
from litestar.datastructures import CacheControlHeader, ResponseHeader
from litestar.routes import HTTPRoute
from litestar.testing import AsyncTestClient

from cache_revalidate import CacheControl, ConfigurationError, Revalidator, allow_everyone
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from tests.plugins.contract import KEYS
from tests.plugins.litestar_app import PREFIX


def make_app(revalidator: Revalidator, *handlers: Any, **config: Any) -> Litestar:
    """Return an app of these handlers."""
    plugin = RevalidatePlugin(RevalidateConfig(revalidator, **{"viewer": allow_everyone, **config}))
    return Litestar([*handlers], plugins=[plugin], logging_config=None)


def handler_of(path: str | list[str] = f"{PREFIX}/labels", declared: Any = ("label",), **options: Any) -> Any:
    """Return a declared handler."""

    @get(path, opt={"revalidate": declared}, **options)
    async def labels() -> list[str]:
        return ["urgent"]

    return labels


async def teams() -> list[str]:
    """Answer a list."""
    return ["sales"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"viewer": None}, "viewer=cache_revalidate.allow_everyone"),
        ({"viewer": "ann"}, "viewer is a str, not a function"),
        ({"revalidator": "redis://127.0.0.1"}, "revalidator is a str"),
        ({"vary": "Cookie"}, r"write vary=\['Cookie'\]"),
        ({"vary": ["Coo kie"]}, "not the name of a header"),
        ({"keys_path": "/cache_keys"}, "/cache_keys has no tenant, and is the path of the keys endpoint"),
        ({"keys_path": "/{account_id:str}/cache_keys"}, "{account_id:str} in .* say {account_id:int}"),
    ],
)
def test_impossible_configuration(revalidator: Revalidator, config: dict[str, Any], message: str) -> None:
    """What could not work is refused when the app is made, with the way out."""
    with pytest.raises(ConfigurationError, match=message):
        Litestar(
            plugins=[
                RevalidatePlugin(
                    RevalidateConfig(**{"revalidator": revalidator, "viewer": allow_everyone, **config}),
                )
            ],
            logging_config=None,
        )


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (handler_of(declared=["label", "lable"]), "labels: Unknown model 'lable'"),
        (handler_of(declared=[]), "labels: A declared route depends on at least one model"),
        (handler_of(declared=True), "{'revalidate': True} of the handler .*labels"),
        (handler_of("/labels"), "/labels has no tenant, and is the path of the handler .*labels, which is declared"),
        (handler_of(["/{account_id:int}/labels", "/labels"]), "/labels has no tenant"),
        (handler_of("/{account_id:str}/labels"), "{account_id:str} in .* say {account_id:int} or {account_id:uuid}"),
        (handler_of("/{account_id:float}/labels"), "{account_id:float} in .* may be spelled in several ways"),
        (handler_of(cache=True), r"labels is declared .* with cache=True: .* would be stale for good"),
        (handler_of(cache=30), "cache=30"),
        (handler_of(cache=CACHE_FOREVER), "CACHE_FOREVER"),
        (
            Router(
                "/", route_handlers=[handler_of(declared=["label"]), get("/teams")(teams)], opt={"revalidate": "team"}
            ),
            "/teams has no tenant",
        ),
    ],
)
def test_impossible_handler(revalidator: Revalidator, handler: Any, message: str, late: bool) -> None:
    """A declaration that could not work is refused when its handler is registered, early or late."""
    register = make_app(revalidator).register if late else partial(make_app, revalidator)
    with pytest.raises(ConfigurationError, match=message):
        register(handler)


def test_second_plugin_is_refused(revalidator: Revalidator) -> None:
    """Two plugins in one app would both read the handlers' `opt`."""
    plugins = [RevalidatePlugin(RevalidateConfig(revalidator, viewer=allow_everyone)) for _ in range(2)]
    with pytest.raises(ConfigurationError, match="two RevalidatePlugins"):
        Litestar(plugins=[*plugins], logging_config=None)


def test_response_cache_elsewhere_is_the_apps_business(revalidator: Revalidator) -> None:
    """Litestar's response cache may be configured, and used by handlers that are not declared."""

    @get("/plain", cache=True)
    async def plain() -> str:
        return "as ever"

    plugin = RevalidatePlugin(RevalidateConfig(revalidator, viewer=allow_everyone))
    cached = ResponseCacheConfig(default_expiration=10)
    assert Litestar([plain, handler_of()], plugins=[plugin], response_cache_config=cached, logging_config=None).routes


def test_undeclared_reads_are_left_alone(revalidator: Revalidator) -> None:
    """A handler that neither is declared nor writes has nothing of the plugin's before it."""

    @get("/plain")
    async def plain() -> str:
        return "as ever"

    @post("/plain")
    async def write() -> None: ...

    app = make_app(revalidator, plain, write)
    (route,) = (route for route in app.routes if isinstance(route, HTTPRoute) and route.path == "/plain")
    hooked = {min(handler.http_methods): handler.before_request is not None for handler in route.route_handlers}
    assert hooked == {"GET": False, "POST": True, "OPTIONS": False}


async def test_keys_endpoint_is_in_the_schema(revalidator: Revalidator) -> None:
    """OpenAPI shows the keys endpoint's two methods, its path parameter, its body and its errors."""
    async with AsyncTestClient(make_app(revalidator)) as client:
        schema = (await client.get("/schema/openapi.json")).json()
    operations = schema["paths"]["/api/v1/accounts/{account_id}/cache_keys"]
    assert set(operations) == {"get", "head"}
    get_keys = operations["get"]
    (parameter,) = get_keys["parameters"]
    assert (parameter["name"], parameter["in"], parameter["schema"]["type"]) == ("account_id", "path", "integer")
    assert set(get_keys["responses"]) >= {"200", "304", "401", "403", "404", "503"}
    assert "content" not in get_keys["responses"]["304"]
    body = get_keys["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(schema["components"]["schemas"][body]["properties"]) == {"cache_keys", "tag"}
    assert set(get_keys["responses"]["403"]["content"]) == {"application/problem+json"}


async def test_no_keys_endpoint(revalidator: Revalidator) -> None:
    """Without a path there is no keys endpoint, and the paths of the schema are those of the app."""
    async with AsyncTestClient(make_app(revalidator, handler_of(), keys_path=None)) as client:
        assert (await client.get(KEYS)).status_code == 404
        assert set((await client.get("/schema/openapi.json")).json()["paths"]) == {
            "/api/v1/accounts/{account_id}/labels"
        }


async def test_keys_endpoint_is_its_own_whatever_the_app_declares(revalidator: Revalidator) -> None:
    """The app's defaults for handlers, an `opt` or a Cache-Control, don't change the keys endpoint's answer."""
    plugin = RevalidatePlugin(
        RevalidateConfig(revalidator, viewer=allow_everyone, keys_cache_control=CacheControl(max_age=3))
    )
    app = Litestar(
        [handler_of()],
        plugins=[plugin],
        opt={"revalidate": ["label"]},
        cache_control=CacheControlHeader(public=True),
        response_headers=[
            ResponseHeader(name="Cache-Control", value="public"),
            ResponseHeader(name="X-Own", value="x"),
        ],
        openapi_config=None,
        logging_config=None,
    )
    async with AsyncTestClient(app) as client:
        response = await client.get(KEYS)
        assert response.headers.get_list("cache-control") == ["max-age=3, private"]
        assert response.headers["x-own"] == "x"
        assert "cache-keys" not in response.headers
