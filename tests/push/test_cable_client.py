"""ActionCable's own client works against us unchanged: the newest release, and the one that Chatwoot pins."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import pytest
from playwright.async_api import Browser, JSHandle, Page, WebSocket

from tests.support.servers import AppServer, RedisServer

APP = "tests.push.cable_app:app"
MODELS = {"label", "inbox", "team"}
REFUSED = 2
"""The account that the app lets nobody see."""

Name = Literal["connected", "disconnected", "rejected", "received"]
Frame = dict[str, Any]


@dataclass(frozen=True)
class Listener:
    """A subscription in the page, and what its callbacks have been told."""

    page: Page
    handle: JSHandle

    async def calls(self, name: Name) -> list[Any]:
        """Return the arguments of a callback's calls, oldest first."""
        named = "(listener, name) => listener.calls.filter((call) => call.name === name).map((call) => call.argument)"
        arguments: list[Any] = await self.handle.evaluate(named, name)
        return arguments

    async def called(self, name: Name, times: int = 1, *, seconds: float = 10) -> None:
        """Wait until a callback has been called so many times."""
        enough = "([listener, name, times]) => listener.calls.filter((call) => call.name === name).length >= times"
        await self._until(enough, [self.handle, name, times], seconds)

    async def holds(self, tokens: dict[str, str]) -> None:
        """Wait until it has been told these tokens, and nothing newer."""
        same = (
            "([listener, tokens]) => Object.entries(tokens).every(([model, token]) => listener.held[model] === token)"
        )
        await self._until(same, [self.handle, tokens], 10)

    async def do(self, method: Literal["unsubscribe", "updatePresence"]) -> None:
        """Call a method of the subscription."""
        await self.handle.evaluate("(listener, method) => { listener.subscription[method]() }", method)

    async def identifier(self) -> str:
        """Return what the server knows the subscription by."""
        identifier: str = await self.handle.evaluate("(listener) => listener.subscription.identifier")
        return identifier

    async def _until(self, condition: str, argument: Any, seconds: float) -> None:
        await self.page.wait_for_function(condition, arg=argument, timeout=1_000 * seconds, polling=20)


@dataclass
class Client:
    """A page with a consumer, and what came to it through its sockets."""

    page: Page
    sockets: list[list[Frame]] = field(default_factory=list)

    def received(self) -> list[Frame]:
        """Return the frames that came so far, oldest first."""
        return [frame for frames in self.sockets for frame in frames]

    async def listen(self, account: int) -> Listener:
        """Subscribe to an account."""
        return Listener(self.page, await self.page.evaluate_handle("listen", account))

    async def listening(self, account: int) -> Listener:
        """Subscribe to an account, and wait for the first event."""
        listener = await self.listen(account)
        await listener.called("connected")
        await listener.called("received")
        return listener

    async def do(self, method: Literal["connect", "disconnect"]) -> None:
        """Call a method of the consumer."""
        await self.page.evaluate("(method) => { consumer[method]() }", method)

    def heed(self, socket: WebSocket) -> None:
        """Note what comes through a socket."""
        frames: list[Frame] = []
        self.sockets.append(frames)
        socket.on("framereceived", lambda text: frames.append(json.loads(text)))


@asynccontextmanager
async def opened(browser: Browser, desk: AppServer, name: str) -> AsyncIterator[Client]:
    """Open a client's page; all that came must have been of the protocol, and no script may have failed."""
    client = Client(await browser.new_page())
    errors: list[str] = []
    client.page.on("pageerror", lambda error: errors.append(str(error)))
    client.page.on("websocket", client.heed)
    await client.page.goto(f"{desk.base_url}/{name}/")
    yield client
    assert errors == []
    for frames in client.sockets:
        assert [frame for frame in frames if not is_of_protocol(frame)] == []
        assert [frame["type"] for frame in frames[:1]] in ([], ["welcome"])
        assert [frame for frame in frames[1:] if frame.get("type") == "welcome"] == []
    await client.page.context.close()


def is_of_protocol(frame: Frame) -> bool:
    """Say whether a frame is one that Rails could have sent: for another, the client may fail or call `received`."""
    match frame:
        case {"type": "welcome", **more}:
            return not more
        case {"type": "ping", "message": int(), **more}:
            return not more
        case {"type": "confirm_subscription" | "reject_subscription", "identifier": str(), **more}:
            return not more
        case {"type": "disconnect", "reason": str(), "reconnect": bool(), **more}:
            return not more
        case {"identifier": str(), "message": {"event": str(), "data": {"account_id": int()}}, **more}:
            return not more
    return False


def bump(desk: AppServer, account: int, model: str = "label") -> dict[str, str]:
    """Bump a model of an account through an app; return its new token."""
    answer = httpx.post(f"{desk.base_url}/accounts/{account}/{model}")
    answer.raise_for_status()
    tokens: dict[str, str] = answer.json()
    return tokens


def served_by(server: Literal["uvicorn", "granian"], redis: RedisServer) -> AppServer:
    """Return the app on a server, to be started."""
    return AppServer(APP, server=server, env={"REDIS_URL": redis.url}, ready_path="/newest/")


@pytest.fixture(scope="module")
def uvicorn_desk(redis_server: RedisServer) -> Iterator[AppServer]:
    """Give the app on uvicorn: do not stop it."""
    with served_by("uvicorn", redis_server) as desk:
        yield desk


@pytest.fixture(scope="module")
def granian_desk(redis_server: RedisServer) -> Iterator[AppServer]:
    """Give the app on granian: do not stop it."""
    with served_by("granian", redis_server) as desk:
        yield desk


@pytest.fixture(params=[("uvicorn", "newest"), ("granian", "chatwoot")], ids="-".join)
def setting(request: pytest.FixtureRequest) -> tuple[AppServer, str]:
    """Give an app, and the name of the client to try with it."""
    server, name = request.param
    return request.getfixturevalue(f"{server}_desk"), name


@pytest.fixture
def desk(setting: tuple[AppServer, str]) -> AppServer:
    """Give the app."""
    return setting[0]


@pytest.fixture
async def client(setting: tuple[AppServer, str], browser: Browser) -> AsyncIterator[Client]:
    """Give a client's page."""
    async with opened(browser, *setting) as client:
        yield client


async def test_subscriber_is_confirmed_and_told_of_a_bump(desk: AppServer, client: Client) -> None:
    """A subscription is confirmed, told all tokens once, and told of a bump."""
    listener = await client.listening(1)
    [first] = await listener.calls("received")
    assert first["event"] == "account.cache_invalidated"
    assert first["data"]["full"] is True
    assert set(first["data"]["models"]) == set(first["data"]["cache_keys"]) == MODELS

    token = bump(desk, 1)
    await listener.holds(token)
    [_, later] = await listener.calls("received")
    assert later["event"] == "account.cache_invalidated"
    assert later["data"]["account_id"] == 1
    assert later["data"]["cache_keys"]["label"] == token["label"]
    assert later["data"]["tag"] == first["data"]["tag"]
    assert later["data"]["jitter_ms"] >= 0
    assert len(await listener.calls("connected")) == 1
    assert await listener.calls("disconnected") == await listener.calls("rejected") == []


async def test_every_event_has_every_key(desk: AppServer, client: Client) -> None:
    """An event tells the tokens of all models: Chatwoot's front end refetches a list whose key an event has not."""
    listener = await client.listening(1)
    before = (await listener.calls("received"))[-1]["data"]["cache_keys"]
    token = bump(desk, 1, "inbox")
    await listener.holds(token)
    assert (await listener.calls("received"))[-1]["data"]["cache_keys"] == before | token


async def test_refused_account_is_rejected_alone(desk: AppServer, client: Client) -> None:
    """A subscription to an account that the viewer may not see is rejected, and the others of its socket go on."""
    refused, allowed = await client.listen(REFUSED), await client.listen(1)
    await refused.called("rejected")
    await allowed.called("connected")
    bump(desk, REFUSED)
    await allowed.holds(bump(desk, 1))
    assert await refused.calls("connected") == await refused.calls("received") == []
    assert len(await refused.calls("rejected")) == len(client.sockets) == 1


async def test_unsubscribed_is_told_no_more(desk: AppServer, client: Client) -> None:
    """After `unsubscribe` nothing of that account is sent; who subscribes again is told what happened meanwhile."""
    left, kept = await client.listening(1), await client.listening(3)
    await left.do("unsubscribe")
    await client.listening(4)  # commands are carried out in their order, so the server has left account 1 by now
    before = len(client.received())
    missed = bump(desk, 1)
    await kept.holds(bump(desk, 3))
    identifier = await left.identifier()
    assert [frame for frame in client.received()[before:] if frame.get("identifier") == identifier] == []
    await (await client.listening(1)).holds(missed)


async def test_two_subscriptions_share_an_identifier(desk: AppServer, client: Client) -> None:
    """A second subscription to the same is confirmed and told all too, and the first goes on when it ends."""
    first = await client.listening(1)
    second = await client.listening(1)
    token = bump(desk, 1)
    await first.holds(token)
    await second.holds(token)
    await second.do("unsubscribe")
    await first.holds(bump(desk, 1))
    assert await first.calls("disconnected") == await first.calls("rejected") == []


async def test_presence_is_no_mistake(desk: AppServer, client: Client) -> None:
    """The `update_presence` that Chatwoot's front end performs every 20 seconds is taken without an answer."""
    listener = await client.listening(1)
    before = len(await listener.calls("received"))
    await listener.do("updatePresence")
    await client.listening(4)  # so the server has read the command before it
    await listener.holds(bump(desk, 1))
    assert len(await listener.calls("received")) == before + 1
    assert await listener.calls("disconnected") == []


async def test_reconnected_by_hand_learns_what_was_missed(desk: AppServer, client: Client) -> None:
    """A consumer that disconnects and connects again is confirmed again and told of the bump in between."""
    listener = await client.listening(1)
    await client.do("disconnect")
    await listener.called("disconnected")
    missed = bump(desk, 1)
    await client.do("connect")
    await listener.called("connected", 2)
    await listener.holds(missed)
    assert await listener.calls("disconnected") == [{"willAttemptReconnect": False}]


async def test_pings_keep_a_client_connected(uvicorn_desk: AppServer, browser: Browser) -> None:
    """A client that hears nothing but pings stays connected, where 6 seconds of silence are too many."""
    desk = uvicorn_desk
    async with opened(browser, desk, "newest") as newest, opened(browser, desk, "chatwoot") as chatwoot:
        listeners = [await client.listening(5) for client in (newest, chatwoot)]
        # It looks after 6 to 12 seconds for the first time.
        await chatwoot.page.wait_for_function("(since) => Date.now() - since > 13_000", arg=1_000 * time.time())
        token = bump(desk, 5)
        for client, listener in zip((newest, chatwoot), listeners, strict=True):
            await listener.holds(token)
            assert await listener.calls("disconnected") == []
            assert await client.page.evaluate("consumer.connection.monitor.reconnectAttempts") == 0
            [frames] = client.sockets
            pings = [frame["message"] for frame in frames if frame.get("type") == "ping"]
            assert len(pings) >= 4
            assert abs(pings[-1] - time.time()) < 10


@pytest.mark.parametrize(("server", "end"), [("uvicorn", "stop"), ("granian", "kill")])
async def test_clients_come_back_by_themselves(
    server: Literal["uvicorn", "granian"], end: Literal["stop", "kill"], redis_server: RedisServer, browser: Browser
) -> None:
    """However a server ends, clients reconnect, are confirmed again, and are told what they missed."""
    with served_by("uvicorn", redis_server) as other, served_by(server, redis_server) as desk:
        async with opened(browser, desk, "newest") as newest, opened(browser, desk, "chatwoot") as chatwoot:
            listeners = [await client.listening(6) for client in (newest, chatwoot)]
            getattr(desk, end)()
            for listener in listeners:
                await listener.called("disconnected")
            missed = bump(other, 6)
            desk.start()
            for listener in listeners:
                await listener.called("connected", 2, seconds=60)
                await listener.holds(missed)
            token = bump(other, 6)
            for listener in listeners:
                await listener.holds(token)
                assert await listener.calls("disconnected") == [{"willAttemptReconnect": True}]
            assert (await listeners[0].calls("connected"))[1] == {"reconnected": True}
