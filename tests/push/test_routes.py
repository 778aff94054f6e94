"""Push behind the middleware: `cache_revalidate.push.routes` and `endpoints`."""

from typing import Any

import pytest

from cache_revalidate import CacheRevalidateMiddleware, ConfigurationError, Revalidator, allow_everyone
from cache_revalidate.push.hub import Hub
from tests.push.asgi import Client, connected, nothing, settle, socket_scope, stream_scope
from tests.push.conftest import Desk

CABLE = {**socket_scope(), "path": "/cable", "subprotocols": ["actioncable-v1-json"]}


def middleware(**options: Any) -> CacheRevalidateMiddleware[Any]:
    """Return an app behind the middleware that lets everyone see everything."""
    arguments = {"revalidator": Revalidator(["label"]), "authorize": allow_everyone, **options}
    return CacheRevalidateMiddleware(nothing, **arguments)


async def test_there_is_push_by_default() -> None:
    """A middleware that is told nothing of push has a hub of its own."""
    app = middleware()
    assert app.hub is not None
    async with connected(app, stream_scope()) as client:
        assert client.updates[0]["full"]
        assert app.hub.stats.connections == 1


@pytest.mark.parametrize(
    "options", [{"push": False}, {"keys_path": None, "routes": {"/{account_id:int}/x": ["label"]}}]
)
async def test_there_may_be_none(options: dict[str, Any]) -> None:
    """Without push, or without the keys endpoint below which it stands, everything goes to the app."""
    app = middleware(**options)
    assert app.hub is None
    for scope in (stream_scope(), stream_scope(method="POST", endpoint="ticket")):
        async with connected(app, scope) as client:
            await client.ended()
            assert (client.status, client.text) == (404, "nothing here")
    for scope in (socket_scope(), CABLE):
        async with connected(app, {**scope}) as client:
            await client.ended()
            assert client.code == 4999


@pytest.mark.parametrize("push", [None, "yes", 1, Hub])
def test_push_is_a_hub_or_not(push: Any) -> None:
    """Anything else is refused, with what to pass."""
    with pytest.raises(ConfigurationError, match=r"Hub\(revalidator\)"):
        middleware(push=push)


def test_the_hub_is_of_the_same_revalidator() -> None:
    """A hub of another revalidator would tell of other tokens."""
    with pytest.raises(ConfigurationError, match="another revalidator"):
        middleware(push=Hub(Revalidator(["label"])))


@pytest.mark.parametrize("path", ["/sub/api/v1/accounts/1/cache_keys/", "/api/v1/accounts/1/cache_keys/"])
async def test_it_may_be_mounted(desk: Desk, path: str) -> None:
    """Below a mount point the paths are found, whether or not the server takes it off."""
    for scope in (stream_scope(), socket_scope()):
        is_socket = scope["type"] == "websocket"
        scope.update(root_path="/sub", path=f"{path}{'socket' if is_socket else 'events'}")
        async with connected(desk.app(), scope) as client:
            if is_socket:
                client.say({"type": "subscribe"})
                await settle()
            assert client.updates[0]["account_id"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/chat",
        "/api/v1/accounts/1/cache_keys",
        "/api/v1/accounts/1/cache_keys/events",
        "/api/v1/accounts/x/cache_keys/socket",
    ],
)
async def test_other_websockets_are_the_app_s(desk: Desk, path: str) -> None:
    """A WebSocket that is none of push's goes to the app as it came."""
    async with connected(desk.app(), {**socket_scope(), "path": path}) as client:
        await client.ended()
        assert client.code == 4999
    assert desk.asked == []


@pytest.mark.parametrize(
    "changed", [{"subprotocols": []}, {"subprotocols": ["chat"]}, {"path": "/cable/"}, {"path": "/other"}]
)
async def test_cables_of_others_are_the_app_s(desk: Desk, changed: dict[str, Any]) -> None:
    """A WebSocket at the cable's path that does not speak its protocol goes to the app."""
    async with connected(desk.app(), {**CABLE, **changed}) as client:
        await client.ended()
        assert client.code == 4999


async def test_the_cable_is_where_it_is_put(desk: Desk) -> None:
    """Its path may be another, or it may be nowhere."""
    client = Client(desk.app(cable_path="/other"), {**CABLE, "path": "/other"})
    await settle()
    assert client.sent[0] == {"type": "websocket.accept", "subprotocol": "actioncable-v1-json"}
    await client.end()
    async with connected(desk.app(cable_path=None), {**CABLE}) as client:
        await client.ended()
        assert client.code == 4999


async def test_a_request_where_a_websocket_is_expected_is_the_app_s(desk: Desk) -> None:
    """A plain GET of the WebSocket's path is not answered here."""
    async with connected(desk.app(), stream_scope(endpoint="socket")) as client:
        await client.ended()
        assert client.text == "nothing here"


async def test_lifespans_are_the_app_s(desk: Desk) -> None:
    """What is neither a request nor a WebSocket goes to the app."""
    types: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        types.append(scope["type"])

    wrapped = CacheRevalidateMiddleware(app, revalidator=desk.revalidator, authorize=desk.authorize)
    await wrapped({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert types == ["lifespan"]
