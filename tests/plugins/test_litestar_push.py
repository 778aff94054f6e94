"""The Litestar plugin pushes as all plugins do, behind guards and authentication, and fits Litestar's own ways."""

import uuid
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from litestar import Litestar, Request, Response, Router
from litestar.config.app import AppConfig
from litestar.config.compression import CompressionConfig
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.plugins import InitPlugin

from cache_revalidate import ConfigurationError, Hub, Revalidator, Viewer, allow_everyone
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from cache_revalidate.types import ASGIApp
from tests.plugins.contract import KEYS, client_of
from tests.plugins.desk import Desk
from tests.plugins.driving import driven
from tests.plugins.litestar_app import PREFIX, AnyRequest, agents_only
from tests.plugins.push_contract import EVENTS, SOCKET, TICKET, PushContract
from tests.plugins.test_litestar_auth import jwt_of, plugin_of
from tests.push.waiting import until

BOTH = [(EVENTS, "http"), (SOCKET, "websocket")]


class TestPush(PushContract):
    """The handlers of push, by the keys endpoint's, where Litestar compresses."""

    app = "tests.plugins.litestar_app:serve"
    schema_path = "/schema/openapi.json"


class TestGuarded(PushContract):
    """The handlers of push, in a router with guards, where the app has a key of its own for what is not compressed."""

    app = "tests.plugins.litestar_app:serve_guarded"
    schema_path = "/schema/openapi.json"


def app_of(revalidator: Revalidator, *, config: dict[str, Any] | None = None, **options: Any) -> ASGIApp:
    """Return an app that pushes to everyone."""
    plugin = RevalidatePlugin(RevalidateConfig(revalidator, **{"viewer": allow_everyone, **(config or {})}))
    options["plugins"] = [plugin, *options.get("plugins", ())]
    return cast("ASGIApp", Litestar(logging_config=None, **options))


@pytest.mark.parametrize("is_guarded", [False, True])
async def test_tickets_pass_by_jwt_authentication_and_guards(desk: Desk, is_guarded: bool) -> None:
    """With JWTs, whose bearers alone get tickets, a ticket is all that a stream or a socket needs."""
    auth = jwt_of(desk)
    plugin = plugin_of(desk, push=desk.hub, keys_path=None if is_guarded else f"{PREFIX}/cache_keys")
    router = Router(PREFIX, route_handlers=plugin.push_handlers("/cache_keys"), guards=[agents_only])
    made = Litestar(
        [router] if is_guarded else [], on_app_init=[auth.on_app_init], plugins=[plugin], logging_config=None
    )
    app = cast("ASGIApp", made)
    bearer = {"authorization": auth.format_auth_header(auth.create_token("ann"))}
    async with client_of(app, None) as client:
        assert (await client.post(TICKET)).status_code == 401
        ticket = (await client.post(TICKET, headers=bearer)).json()["ticket"]
        assert (await client.post(f"{TICKET}?ticket={ticket}")).status_code == 401
    for path, kind in BOTH:
        async with driven(app, path, type=kind, headers=[], query=f"ticket={ticket}") as connection:
            assert connection.status in {200, 101}
            if kind == "websocket":
                connection.say({"type": "subscribe"})
                await until(lambda: desk.revalidator.tag("ann") in connection.text, "the first event")
        async with driven(app, path, type=kind, headers=[(b"authorization", bearer["authorization"].encode())]) as it:
            assert it.status in {200, 101}
        async with driven(app, path.replace("/1/", "/2/"), type=kind, headers=[], query=f"ticket={ticket}") as it:
            assert it.status == 403
        async with driven(app, path, type=kind, headers=[]) as nobody:
            assert nobody.status in {401, 0}
            assert "jitter_ms" not in nobody.text


async def test_layers_headers_are_those_of_the_stream(revalidator: Revalidator) -> None:
    """What layers and hooks add to answers is in the stream's as well; what it says itself stands."""

    async def after_request(response: Response[Any]) -> Response[Any]:
        response.headers["x-after"] = "seen"
        return response

    headers = [
        ResponseHeader(name="X-Frame-Options", value="DENY"),
        ResponseHeader(name="Cache-Control", value="public"),
    ]
    app = app_of(revalidator, response_headers=headers, after_request=after_request)
    async with driven(app, EVENTS) as stream:
        assert (stream.headers["x-frame-options"], stream.headers["x-after"]) == ("DENY", "seen")
        assert stream.headers["cache-control"] == "no-store, no-transform"
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(("path", "kind"), BOTH)
async def test_no_dependency_is_resolved(revalidator: Revalidator, path: str, kind: str) -> None:
    """The handlers need nothing that an app provides: no session is opened, let alone held for as long as they last."""
    opened = []

    async def session() -> AsyncIterator[str]:
        opened.append("session")
        yield "session"

    async with driven(app_of(revalidator, dependencies={"db": Provide(session)}), path, type=kind) as connection:
        assert connection.status in {200, 101}
        assert opened == []


async def test_viewer_is_shown_a_request_of_the_apps(revalidator: Revalidator) -> None:
    """For a socket, too, and for each tenant that it names: `viewer` is shown the request that opened it."""

    class DeskRequest(Request[Any, Any, Any]):
        pass

    seen: list[tuple[type, str, str, str]] = []

    def viewer(request: AnyRequest, tenant: str) -> Viewer | None:
        seen.append((type(request), request.method, request.headers["authorization"], tenant))
        return "ann" if tenant != "3" else None

    app = app_of(revalidator, config={"viewer": viewer}, request_class=DeskRequest)
    async with driven(app, SOCKET, type="websocket") as socket:
        for tenant in (2, 3):
            socket.say({"type": "subscribe", "account_id": tenant})
        await until(lambda: '"refused"' in socket.text and '"account_id":2' in socket.text, "an event, and a refusal")
    assert seen == [(DeskRequest, "GET", "Bearer ann", tenant) for tenant in ("1", "2", "3")]


async def test_compression_that_a_later_plugin_sets(revalidator: Revalidator) -> None:
    """A stream is left alone by compression that comes with another plugin, and all else is compressed."""

    class Compression(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.compression_config = CompressionConfig(backend="gzip", minimum_size=1)
            return app_config

    app = app_of(revalidator, plugins=[Compression()])
    headers = [(b"accept-encoding", b"gzip")]
    async with driven(app, EVENTS, headers=headers) as stream:
        assert "content-encoding" not in stream.headers
    async with client_of(app) as client:
        keys = await client.get(KEYS, headers={"accept-encoding": "gzip"})
        assert (keys.headers["content-encoding"], "cache_keys" in keys.json()) == ("gzip", True)


async def test_other_tenants(revalidator: Revalidator) -> None:
    """A tenant may be a UUID, however a message spells it."""
    app = app_of(revalidator, config={"tenant": "desk", "keys_path": "/{desk:uuid}/keys"})
    one, other = uuid.uuid4(), uuid.uuid4()
    async with driven(app, f"/{one}/keys/socket", type="websocket") as socket:
        socket.say({"type": "subscribe", "account_id": other.hex.upper()})
        await until(lambda: f'"account_id":"{other}"' in socket.text, "the first event")


async def test_without_push(revalidator: Revalidator) -> None:
    """There are no handlers of push where there is to be none, and none of tickets where the hub has none."""
    async with client_of(app_of(revalidator, config={"push": False})) as client:
        assert (await client.get(EVENTS)).status_code == 404
    async with client_of(app_of(revalidator)) as client:
        assert (await client.post(TICKET)).status_code == 404
        schema = (await client.get("/schema/openapi.json")).json()
        parameters = schema["paths"]["/api/v1/accounts/{account_id}/cache_keys/events"]["get"]["parameters"]
        assert {each["name"] for each in parameters} == {"account_id", "known", "Last-Event-ID"}
    with pytest.raises(ConfigurationError, match="no hub"):
        RevalidatePlugin(RevalidateConfig(revalidator, viewer=allow_everyone, push=False)).push_handlers("/keys")


def test_what_could_not_work_is_an_error(revalidator: Revalidator) -> None:
    """Another revalidator's hub, and a path whose tenant has several spellings, are refused when the app is made."""
    with pytest.raises(ConfigurationError, match="another revalidator"):
        app_of(revalidator, config={"push": Hub(Revalidator(["label"]))})
    plugin = RevalidatePlugin(RevalidateConfig(revalidator, viewer=allow_everyone, keys_path=None))
    for handler in plugin.push_handlers("/{account_id:str}/keys"):
        with pytest.raises(ConfigurationError, match=r"{account_id:str} in .* push.* may be spelled in several ways"):
            Litestar([handler], plugins=[plugin], logging_config=None)
