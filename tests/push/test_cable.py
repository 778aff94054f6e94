"""ActionCable's protocol, spoken in the same event loop: `cache_revalidate.push.cable`."""

import asyncio
import json
from typing import Any

import pytest

from cache_revalidate import EVERYONE, Connection, Tickets
from cache_revalidate.types import ASGIApp, Scope
from tests.push.asgi import Client, Clock, connected, settle, socket_scope, stream_scope
from tests.push.conftest import MODELS, Desk, MakeDesk

WELCOME = {"type": "welcome"}


def scope(**changed: Any) -> Scope:
    """Return the scope of a cable."""
    return {**socket_scope(), "path": "/cable", "subprotocols": ["actioncable-v1-json"], **changed}


def room(account: object = 1, **more: object) -> str:
    """Return an identifier."""
    return json.dumps({"channel": "RoomChannel", "account_id": account, **more})


class Cable(Client):
    """A client of ActionCable."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        super().__init__(app, scope)

    def command(self, command: str, identifier: object = room()) -> None:
        """Send a command."""
        self.say({"command": command, "identifier": identifier})

    @property
    def told(self) -> list[dict[str, Any]]:
        """All messages but pings."""
        texts = [json.loads(each["text"]) for each in self.sent if each["type"] == "websocket.send"]
        return [each for each in texts if each.get("type") != "ping"]

    @property
    def keys(self) -> list[dict[str, str]]:
        """The tokens of all events."""
        return [each["message"]["data"]["cache_keys"] for each in self.told if "message" in each]


async def begun(app: ASGIApp, *identifiers: str, **changed: Any) -> Cable:
    """Connect and subscribe."""
    cable = Cable(app, scope(**changed))
    for identifier in identifiers:
        cable.command("subscribe", identifier)
    await settle()
    return cable


async def test_it_welcomes_and_tells(desk: Desk) -> None:
    """A client is welcomed, its subscription confirmed, and each event has all keys, under its identifier."""
    cable = await begun(desk.app(), room())
    assert cable.sent[0] == {"type": "websocket.accept", "subprotocol": "actioncable-v1-json"}
    assert cable.told[:2] == [WELCOME, {"identifier": room(), "type": "confirm_subscription"}]
    assert (cable.told[2]["identifier"], cable.told[2]["message"]["event"]) == (room(), "account.cache_invalidated")
    await desk.revalidator.bump(1, "label")
    await settle()
    assert cable.keys[-1] == await desk.revalidator.tokens("1")
    assert set(cable.keys[-1]) == set(MODELS)
    cable.command("unsubscribe")
    await settle()
    await desk.revalidator.bump(1, "label")
    await settle()
    assert len(cable.keys) == 2
    await cable.end()
    assert desk.hub.stats.connections == desk.hub.stats.tenants == 0


@pytest.mark.parametrize(
    "identifier",
    [
        "x",
        "[]",
        "[" * 2_000,
        "{}",
        room(2),
        room(True),
        room(None),
        room(1.5),
        room("x"),
        room([]),
        json.dumps({"channel": "RoomChannel"}),
        json.dumps({"channel": "OtherChannel", "account_id": 1}),
        room("\ud800"),
    ],
)
async def test_what_may_not_be_subscribed_to_is_rejected(desk: Desk, identifier: str) -> None:
    """Whatever an identifier says, it is rejected alone, and under its own name."""
    desk.rule = lambda agent, tenant: agent if tenant == "1" else None
    cable = await begun(desk.app(), identifier, room())
    assert {"identifier": identifier, "type": "reject_subscription"} in cable.told
    assert (len(cable.keys), cable.code) == (1, None)
    await cable.end()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"command": "shout", "identifier": room()},
        {"command": "subscribe"},
        {"command": "subscribe", "identifier": 1},
        {"command": "subscribe", "identifier": "x" * 3_000},
        {"command": "unsubscribe", "identifier": None},
        [],
        None,
    ],
)
async def test_what_is_no_command_ends_the_connection(desk: Desk, message: Any) -> None:
    """A message of another kind is a mistake, and no failure."""
    cable = Cable(desk.app(), scope())
    cable.say(message)
    await cable.ended()
    assert cable.told == [WELCOME, {"type": "disconnect", "reason": "invalid_request", "reconnect": False}]
    assert cable.code == 4400


async def test_messages_to_channels_are_read_over(desk: Desk) -> None:
    """Clients may go on to call the actions of a channel that has none here, and to answer pings."""
    cable = await begun(desk.app(), room())
    cable.say({"command": "message", "identifier": room(), "data": '{"action":"update_presence"}'})
    cable.say({"type": "pong"})
    await settle()
    assert cable.code is None
    await cable.end()


async def test_one_account_may_have_two_identifiers(desk: Desk) -> None:
    """Each subscription is told under its own name; ended by its name, the other goes on."""
    cable = await begun(desk.app(), room(), room(pubsub_token="x"))
    assert len(cable.keys) == 2
    cable.command("unsubscribe", room())
    await settle()
    await desk.revalidator.bump(1, "label")
    await settle()
    assert [each["identifier"] for each in cable.told[-1:]] == [room(pubsub_token="x")]
    assert (len(cable.keys), desk.hub.stats.tenants) == (3, 1)
    await cable.end()


async def test_a_rule_sees_the_identifier(desk: Desk) -> None:
    """An app whose clients show a token in the identifier finds it in the scope."""
    seen: list[Any] = []
    plain = desk.authorize

    def authorize(connection: Connection, tenant: str) -> Any:
        seen.append(connection.scope["cache_revalidate.identifier"])
        return plain(connection, tenant)

    desk.authorize = authorize  # type: ignore[method-assign]
    cable = await begun(desk.app(), room(token="secret"))
    assert seen == [{"channel": "RoomChannel", "account_id": 1, "token": "secret"}]
    await cable.end()


async def test_pings_come_every_three_seconds(desk: Desk, clock: Clock) -> None:
    """A client that hears nothing for six seconds would take the connection for dead."""
    cable = await begun(desk.app(), room())
    for _ in range(8):
        await clock.forward(1.5)
    assert 3 <= sum('"ping"' in each.get("text", "") for each in cable.sent) <= 4
    await cable.end()


async def test_an_idle_cable_ends(desk: Desk, clock: Clock) -> None:
    """Whoever subscribes to nothing has no connection for long."""
    cable = await begun(desk.app(), room(2))
    cable.command("unsubscribe", room(2))
    await settle()
    for _ in range(12):
        await clock.forward(1.5)
    await cable.ended()
    assert cable.told[-1] == {"type": "disconnect", "reason": "unauthorized", "reconnect": False}


@pytest.mark.parametrize("limit", ["max_per_tenant", "max_per_viewer", "max_subscriptions"])
async def test_who_finds_no_room_comes_again(make_desk: MakeDesk, limit: str) -> None:
    """Beyond a limit the connection ends, and the client comes back by itself."""
    desk = make_desk(**{limit: 1})
    app = desk.app()
    async with connected(app, stream_scope("1" if limit == "max_per_tenant" else "7")):
        cable = await begun(
            app,
            room(1),
            *([room(2)] if limit == "max_subscriptions" else []),
            headers=[
                (b"host", b"desk.example"),
                (b"x-agent", b"ann" if limit == "max_per_viewer" else b"bob"),
            ],
        )
        await cable.ended()
        assert (cable.code, cable.told[-1]["reconnect"]) == (4429, True)


async def test_a_viewer_s_connections_are_counted(make_desk: MakeDesk) -> None:
    """A cable counts as its viewer's from the first subscription on, and no more when it is gone."""
    desk = make_desk(max_per_viewer=1)
    cable = await begun(desk.app(), room(1), room(2))
    assert desk.hub.board()._viewers == {"ann": 1}
    await cable.end()
    assert desk.hub.board()._viewers == {}
    desk.rule = lambda agent, tenant: EVERYONE
    cable = await begun(desk.app(), room(1))
    assert desk.hub.board()._viewers == {}
    await cable.end()


@pytest.mark.parametrize("has_extension", [True, False])
async def test_where_nobody_may_come_in_nobody_is_welcomed(make_desk: MakeDesk, has_extension: bool) -> None:
    """A foreign page, and whoever comes when the process is full, is refused before it is accepted."""
    desk = make_desk(max_connections=1)
    extensions: Any = {"websocket.http.response": {}} if has_extension else {}
    foreign = [(b"host", b"desk.example"), (b"origin", b"https://evil.example"), (b"x-agent", b"ann")]
    for changed, status in (({"headers": foreign}, 403), ({}, 503)):
        async with connected(desk.app(), stream_scope()):
            cable = Cable(desk.app(), scope(extensions=extensions, **changed))
            await cable.ended()
            assert cable.status == status if has_extension else cable.code == 4403


async def test_a_refused_account_is_rejected(desk: Desk, clock: Clock) -> None:
    """Asked again, one subscription may be refused; with the last the connection ends for good."""
    cable = await begun(desk.app(), room(1), room(2))
    desk.rule = lambda agent, tenant: agent if tenant == "1" else None
    await clock.forward(61)
    assert {"identifier": room(2), "type": "reject_subscription"} in cable.told
    assert cable.code is None
    desk.rule = lambda agent, tenant: None
    await clock.forward(61)
    await cable.ended()
    assert cable.told[-1] == {"type": "disconnect", "reason": "unauthorized", "reconnect": False}


async def test_what_is_ended_while_another_is_asked_for_is_not_asked_for(desk: Desk, clock: Clock) -> None:
    """A client may unsubscribe from one account while another is asked for again."""
    cable = await begun(desk.app(), room(1), room(2))
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def slow(agent: str, tenant: str) -> str:
        return await answered

    desk.rule = slow
    await clock.forward(61)
    cable.command("unsubscribe", room(2))
    await settle()
    answered.set_result("ann")
    await settle()
    assert (cable.code, cable.task.done(), len(desk.asked)) == (None, False, 3)
    await cable.end()


async def test_a_rule_that_hangs_rejects(desk: Desk, clock: Clock) -> None:
    """Who can't be asked for in time is rejected, and what the client says next is heard."""

    async def hanging(agent: str, tenant: str) -> None:
        await asyncio.Event().wait()

    desk.rule = lambda agent, tenant: hanging(agent, tenant) if tenant == "2" else agent
    cable = await begun(desk.app(), room(1), room(2), room(3))
    await clock.forward(11)
    assert {"identifier": room(2), "type": "reject_subscription"} in cable.told
    assert len(cable.keys) == 2
    await cable.end()


async def test_a_refusal_ends_what_was_subscribed_to_before(desk: Desk) -> None:
    """Who is refused when he subscribes again has no subscription left."""
    cable = await begun(desk.app(), room())
    desk.rule = lambda agent, tenant: None
    cable.command("subscribe")
    await settle()
    assert cable.told[-1] == {"identifier": room(), "type": "reject_subscription"}
    assert desk.hub.stats.tenants == 0
    await cable.end()


async def test_closing_says_to_come_again(desk: Desk) -> None:
    """A client of a server that goes away comes back by itself."""
    cable = await begun(desk.app(), room())
    desk.hub.close()
    await cable.ended()
    assert cable.told[-1] == {"type": "disconnect", "reason": "server_restart", "reconnect": True}
    assert cable.code == 1001


async def test_tickets_let_in(make_desk: MakeDesk) -> None:
    """A page that can't send headers shows a ticket in the URL of its cable."""
    tickets = Tickets("s" * 32)
    desk = make_desk(tickets=tickets)
    async with connected(desk.app(), stream_scope(method="POST", endpoint="ticket")) as client:
        ticket = json.loads(client.text)["ticket"]
    cable = await begun(desk.app(), room(1), room(2), query_string=f"ticket={ticket}".encode())
    assert {"identifier": room(2), "type": "reject_subscription"} in cable.told
    assert len(cable.keys) == 1
    await cable.end()


async def test_whoever_does_not_connect_is_not_served(desk: Desk) -> None:
    """A server that takes back a WebSocket before it is connected finds nothing sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: Any) -> None:
        sent.append(message)

    await desk.app()(scope(), receive, send)
    assert sent == []
