"""WebSockets of our own protocol: `cache_revalidate.push.socket` and `messages`."""

import asyncio
import json
import time
from typing import Any

import pytest

from cache_revalidate import Grant, Tickets
from tests.push.asgi import Client, Clock, Event, connected, settle, socket_scope, stream_scope
from tests.push.conftest import MODELS, Desk, MakeDesk

SUBSCRIBE = {"type": "subscribe"}


async def test_it_begins_when_the_client_says_so(desk: Desk) -> None:
    """A WebSocket is accepted, and told of the path's tenant once it has subscribed."""
    async with connected(desk.app(), socket_scope()) as client:
        assert client.sent == [{"type": "websocket.accept"}]
        client.say(SUBSCRIBE)
        await settle()
        tokens, tag = await desk.revalidator.tokens("1"), desk.revalidator.tag("ann")
        first = {"account_id": 1, "cache_keys": tokens, "tag": tag, "full": True, "models": MODELS, "jitter_ms": 0}
        assert client.events == [Event("account.cache_invalidated", first)]
        bumped = await desk.revalidator.bump(1, "team")
        await settle()
        assert client.updates[-1] == {"account_id": 1, "cache_keys": bumped, "tag": tag, "jitter_ms": 1}
    assert len(desk.asked) == 1
    assert desk.hub.stats.connections == desk.hub.stats.tenants == 0


async def test_several_tenants_are_authorised_each(desk: Desk) -> None:
    """Each subscription is asked for by itself; one that is refused is said to be, and the others go on."""
    desk.rule = lambda agent, tenant: None if tenant == "2" else agent
    async with connected(desk.app(), socket_scope()) as client:
        for account in (1, 2, "3", 4):
            client.say({"type": "subscribe", "account_id": account})
        await settle()
        assert [update["account_id"] for update in client.updates] == [1, 3, 4]
        assert Event("refused", {"account_id": 2}) in client.events
        assert desk.asked == [("ann", "1"), ("ann", "2"), ("ann", "3"), ("ann", "4")]
        assert client.code is None
        bumped = await desk.revalidator.bump_many({1: ["label"], 2: ["label"], 3: ["label"]})
        await settle()
        assert [update["cache_keys"] for update in client.updates[3:]] == [bumped["1"], bumped["3"]]


async def test_what_is_known_is_not_told(desk: Desk) -> None:
    """A client that shows what it holds is told what differs."""
    app = desk.app()
    async with connected(app, socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        known = {"cache_keys": client.updates[0]["cache_keys"], "tag": client.updates[0]["tag"]}
    bumped = await desk.revalidator.bump(1, "label")
    async with connected(app, socket_scope()) as client:
        client.say({**SUBSCRIBE, "known": known})
        await settle()
        assert (client.updates[0]["cache_keys"], client.updates[0]["full"]) == (bumped, False)


async def test_unsubscribed_is_told_no_more(desk: Desk) -> None:
    """What was unsubscribed is not told, and can be subscribed to again; what never was is no mistake."""
    async with connected(desk.app(), socket_scope()) as client:
        for message in (SUBSCRIBE, {"type": "unsubscribe"}, {"type": "unsubscribe", "account_id": 7}):
            client.say(message)
        await settle()
        told = len(client.updates)
        await desk.revalidator.bump(1, "label")
        await settle()
        assert (len(client.updates), client.code, desk.hub.stats.tenants) == (told, None, 0)
        client.say(SUBSCRIBE)
        await settle()
        assert client.updates[-1]["full"]
        assert len(desk.asked) == 2


async def test_who_has_left_is_not_told_what_others_are(desk: Desk) -> None:
    """An unsubscription that comes while a crowd is told of a change is heeded."""
    app = desk.app()
    crowd = [Client(app, stream_scope(agent=f"agent-{number}")) for number in range(300)]
    await settle()
    async with connected(app, socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        [connection] = [each for each in desk.hub.board()._connections if type(each).__name__ == "Socket"]
        await desk.revalidator.bump(1, "label")
        await settle(1)
        connection.unsubscribe("1")
        await settle()
        assert len(client.updates) == 1
    for each in crowd:
        await each.end()


async def test_subscribing_twice_begins_anew(desk: Desk) -> None:
    """A second subscription takes the place of the first: everything is told once, and changes after it once."""
    app = desk.app()
    async with connected(app, socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        topic = desk.hub.board()._topics["1"]
        client.say(SUBSCRIBE)
        await settle()
        assert [update["full"] for update in client.updates] == [True, True]
        assert desk.hub.board()._topics["1"] is topic
        assert len(topic.subscriptions) == desk.hub.stats.tenants == 1
        await desk.revalidator.bump(1, "label")
        await settle()
        assert len(client.updates) == 3
    assert len(desk.asked) == 2


async def test_subscribing_twice_may_be_refused(desk: Desk) -> None:
    """Who is refused when he subscribes again has no subscription left."""
    async with connected(desk.app(), socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        desk.rule = lambda agent, tenant: None
        client.say(SUBSCRIBE)
        await settle()
        assert client.names[-1] == "refused"
        await desk.revalidator.bump(1, "label")
        await settle()
        assert client.names[-1] == "refused"
        assert desk.hub.stats.tenants == 0


@pytest.mark.parametrize("account", [True, False, None, 1.5, [], {}, "", "x", -1, "é", "\ud800", "1/2", 10**400])
async def test_an_account_that_is_none_is_a_mistake(desk: Desk, account: Any) -> None:
    """What names no possible tenant is said to, and the connection closed."""
    for kind in ("subscribe", "unsubscribe"):
        client = Client(desk.app(), socket_scope())
        client.say({"type": kind, "account_id": account})
        await client.ended()
        assert client.code == 4400
        assert client.events[0].name == "error"
        assert client.events[0].data["code"] == 4400
    assert desk.hub.stats.connections == 0


@pytest.mark.parametrize("account", [1, "1", "01", "0001"])
async def test_an_account_is_made_canonical(desk: Desk, account: Any) -> None:
    """However the path's tenant is named, it is that tenant."""
    async with connected(desk.app(), socket_scope()) as client:
        client.say({"type": "subscribe", "account_id": account})
        await settle()
        assert client.updates[0]["account_id"] == 1
    assert desk.asked == [("ann", "1")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{",
        "[]",
        "1",
        "null",
        '"subscribe"',
        "{}",
        '{"type": 1}',
        '{"type": "shout"}',
        "[" * 16_000,
        '{"a":' * 3_000,
        "1" * 6_000,
        "\ud800",
        "NaN",
    ],
)
async def test_what_is_not_understood_ends_the_connection(
    desk: Desk, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A text that is no message is a mistake, and never a failure."""
    client = Client(desk.app(), socket_scope())
    client.say_text(text)
    await client.ended()
    assert (client.code, client.names) == (4400, ["error"])
    assert not caplog.records


async def test_bytes_are_a_mistake(desk: Desk) -> None:
    """Messages are text."""
    client = Client(desk.app(), socket_scope())
    client.say_bytes(b'{"type":"subscribe"}')
    await client.ended()
    assert (client.code, client.events[0].data["detail"]) == (4400, "Send text, not bytes.")


@pytest.mark.parametrize("is_text", [True, False])
async def test_a_message_has_a_length(make_desk: MakeDesk, is_text: bool) -> None:
    """A message that is longer than is taken is not looked at."""
    for length, code in ((100, 4400), (101, 1009)):
        client = Client(make_desk(max_message=100).app(), socket_scope())
        if is_text:
            client.say_text("x" * length)
        else:
            client.say_bytes(b"x" * length)
        await client.ended()
        assert client.code == code


async def test_messages_come_at_a_rate(make_desk: MakeDesk, clock: Clock) -> None:
    """As many as are allowed for ten seconds may come at once, and then no more than go on."""
    client = Client(make_desk(max_messages=2.0, max_subscriptions=3).app(), socket_scope())
    for _ in range(20):
        client.say({"type": "pong"})
    await settle()
    assert not client.task.done()
    for _ in range(5):
        await clock.forward(1)
        client.say({"type": "pong"})
        client.say({"type": "pong"})
        await settle()
    assert not client.task.done()
    client.say({"type": "pong"})
    await client.ended()
    assert (client.code, client.names[-1]) == (4429, "error")


async def test_all_subscriptions_may_be_made_at_once(make_desk: MakeDesk) -> None:
    """A client that comes again may subscribe to as many tenants as it may be told of."""
    async with connected(make_desk(max_messages=1.0, max_subscriptions=80).app(), socket_scope()) as client:
        for tenant in range(80):
            client.say({"type": "subscribe", "account_id": tenant})
        await settle(500)
        assert (len(client.updates), client.code) == (80, None)


async def test_subscriptions_are_limited(make_desk: MakeDesk) -> None:
    """One more than may be ends the connection; another of one that is there is none."""
    desk = make_desk(max_subscriptions=2)
    client = Client(desk.app(), socket_scope())
    for tenant in (1, 2, 2, 1):
        client.say({"type": "subscribe", "account_id": tenant})
    await settle()
    assert client.code is None
    client.say({"type": "subscribe", "account_id": 3})
    await client.ended()
    assert client.code == 4429


async def test_who_may_not_see_learns_nothing(make_desk: MakeDesk) -> None:
    """That a tenant has as many connections as it may is said to those alone who may see it."""
    desk = make_desk(max_per_tenant=1)
    desk.rule = lambda agent, tenant: agent if agent == "bob" or tenant == "1" else None
    app = desk.app()
    async with connected(app, stream_scope("2", agent="bob")), connected(app, socket_scope()) as client:
        client.say({"type": "subscribe", "account_id": 2})
        await settle()
        assert (client.names, client.code) == (["refused"], None)
    async with connected(app, stream_scope("2", agent="bob")):
        client = Client(app, socket_scope(agent="bob"))
        client.say({"type": "subscribe", "account_id": 2})
        await client.ended()
        assert client.code == 4429


@pytest.mark.parametrize("has_extension", [True, False])
async def test_who_may_not_connect_is_refused(make_desk: MakeDesk, has_extension: bool) -> None:
    """Before it is accepted a WebSocket is answered like a request, where the server can do that; else closed."""
    desk = make_desk(max_per_tenant=1)
    desk.rule = lambda agent, tenant: agent if tenant == "1" else None
    app = desk.app()
    extensions = {"websocket.http.response": {}} if has_extension else None
    async with connected(app, stream_scope()):
        for tenant, agent, status in (
            ("2", "ann", 403),
            ("1", "nobody", 401),
            ("1", "bob", 429),
            ("9" * 200, "ann", 404),
        ):
            client = Client(app, socket_scope(tenant, agent=agent, extensions=extensions))
            await client.ended()
            if has_extension:
                assert client.status == status
                assert (b"retry-after" in client.headers) == (status == 429)
            else:
                assert client.sent == [{"type": "websocket.close", "code": 4403, "reason": ""}]


async def test_heartbeats_are_answered(desk: Desk, clock: Clock) -> None:
    """A client that answers is kept, one that falls silent is closed as stalled."""
    client = Client(desk.app(), socket_scope())
    client.say(SUBSCRIBE)
    await settle()
    for _ in range(4):
        await clock.forward(15.6)
        assert client.names[-1] == "heartbeat"
        client.say({"type": "pong"})
        await settle()
    for _ in range(4):
        await clock.forward(15.6)
    await client.ended()
    assert (client.code, desk.hub.stats.stalled) == (4408, 1)


async def test_a_client_that_is_busy_gets_heartbeats(desk: Desk, clock: Clock) -> None:
    """However often a client subscribes, heartbeats come."""
    async with connected(desk.app(), socket_scope()) as client:
        for _ in range(4):
            await clock.forward(5)
            client.say(SUBSCRIBE)
            await settle()
        assert client.names.count("heartbeat") == 1


async def test_a_reader_that_stalls_is_counted_once(desk: Desk, clock: Clock) -> None:
    """Who neither reads nor answers is one that stalled."""
    client = Client(desk.app(), socket_scope())
    client.say(SUBSCRIBE)
    await settle()
    await clock.forward(15.6)
    client.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle()
    await clock.forward(26)
    await clock.forward(2)
    await client.ended()
    assert (desk.hub.stats.stalled, desk.hub.stats.connections) == (1, 0)


async def test_idle_connections_are_kept(desk: Desk, clock: Clock) -> None:
    """A client that has not subscribed, or no longer is, may do so later; it is then asked for anew."""
    async with connected(desk.app(), socket_scope()) as client:
        for _ in range(9):
            await clock.forward(15)
            client.say({"type": "pong"})
            await settle()
        assert client.code is None
        assert len(desk.asked) == 1
        desk.rule = lambda agent, tenant: None
        client.say(SUBSCRIBE)
        await settle()
        assert (len(desk.asked), client.names[-1]) == (2, "refused")


async def test_a_refused_tenant_ends_alone(desk: Desk, clock: Clock) -> None:
    """Asked again, one tenant may be refused and another not; with the last the connection ends."""
    client = Client(desk.app(), socket_scope())
    for tenant in (1, 2):
        client.say({"type": "subscribe", "account_id": tenant})
    await settle()
    desk.rule = lambda agent, tenant: None if tenant == "2" else agent
    await clock.forward(61)
    assert client.events[-2:] == [Event("refused", {"account_id": 2}), Event("heartbeat", {"live": True})]
    assert (client.code, desk.hub.stats.expelled, desk.hub.stats.tenants) == (None, 1, 1)
    client.say({"type": "pong"})
    desk.rule = lambda agent, tenant: None
    await clock.forward(61)
    await client.ended()
    assert client.events[-1] == Event("refused", {"account_id": 1})
    assert client.code == 4403


class Slow:
    """A rule that answers when the test says so."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[Any]] = []

    async def __call__(self, agent: str, tenant: str) -> Any:
        """Wait for the answer."""
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


async def test_what_is_ended_while_it_is_asked_for_stays_ended(desk: Desk, clock: Clock) -> None:
    """A client that unsubscribes from its last tenant while that is asked for again is not refused."""
    async with connected(desk.app(), socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        slow = Slow()
        desk.rule = slow
        await clock.forward(61)
        client.say({"type": "unsubscribe"})
        await settle()
        slow.answers[0].set_result(None)
        await settle()
        assert "refused" not in client.names
        assert (client.code, desk.hub.stats.expelled) == (None, 0)


async def test_what_is_begun_anew_while_it_is_asked_for_goes_on(desk: Desk, clock: Clock) -> None:
    """A refusal of what a client has ended says nothing of what it has been granted since."""
    async with connected(desk.app(), socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        slow = Slow()
        desk.rule = slow
        await clock.forward(61)
        client.say(SUBSCRIBE)
        await settle()
        slow.answers[1].set_result("ann")
        await settle()
        slow.answers[0].set_result(None)
        await settle()
        assert "refused" not in client.names
        assert desk.hub.stats.tenants == 1


async def test_who_goes_while_he_is_asked_for_leaves_nothing(desk: Desk, clock: Clock) -> None:
    """A connection that ends while a subscription is asked for gets none."""
    client = Client(desk.app(), socket_scope())
    await settle()
    slow = Slow()
    desk.rule = slow
    client.say({"type": "subscribe", "account_id": 2})
    await settle()
    desk.hub.close()
    slow.answers[0].set_result("ann")
    await client.ended()
    assert (client.code, desk.hub.stats.tenants, desk.hub.stats.connections) == (1001, 0, 0)


async def test_a_rule_that_hangs_refuses_a_subscription(desk: Desk, clock: Clock) -> None:
    """Who can't be asked for in time is refused, and what the client says next is heard."""
    async with connected(desk.app(), socket_scope()) as client:
        await settle()
        slow = Slow()
        desk.rule = lambda agent, tenant: slow(agent, tenant) if tenant == "2" else agent
        client.say({"type": "subscribe", "account_id": 2})
        client.say(SUBSCRIBE)
        await settle()
        await clock.forward(11)
        assert client.names == ["refused", "account.cache_invalidated"]


async def test_a_rule_that_fails_refuses(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the app's rule is a refusal, and logged."""

    def fail(agent: str, tenant: str) -> str:
        raise ZeroDivisionError

    async with connected(desk.app(), socket_scope()) as client:
        await settle()
        desk.rule = fail
        client.say({"type": "subscribe", "account_id": 2})
        await settle()
        assert client.names == ["refused"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_ticket_is_for_one_tenant(make_desk: MakeDesk, clock: Clock) -> None:
    """Who came by a ticket may subscribe to its tenant alone, and comes again for more."""
    tickets = Tickets("s" * 32)
    ticket = tickets.issue("1", Grant("ann", time.time() + 600))
    client = Client(make_desk(tickets=tickets).app(), socket_scope(query={"ticket": ticket}, agent="nobody"))
    client.say(SUBSCRIBE)
    client.say({"type": "subscribe", "account_id": 2})
    await settle()
    assert sorted(client.names) == ["account.cache_invalidated", "refused"]
    await clock.forward(61)
    await client.ended()
    assert client.code == 4410


async def test_farewells_are_said_once(desk: Desk) -> None:
    """What was to be said is said before the end, each once."""
    client = Client(desk.app(), socket_scope())
    client.gate.clear()
    client.say({"type": "shout"})
    await settle()
    client.gate.set()
    await client.ended()
    kinds = [each["type"] for each in client.sent]
    assert kinds == ["websocket.accept", "websocket.send", "websocket.close"]


async def test_what_comes_after_the_end_is_not_heard(desk: Desk) -> None:
    """Once a connection is closed for a mistake, nothing more that comes counts."""
    client = Client(desk.app(), socket_scope())
    client.say_text("x")
    client.say(SUBSCRIBE)
    client.say_text("y")
    await client.ended()
    assert client.names == ["error"]
    assert desk.hub.stats.updates == 0


async def test_whoever_does_not_connect_is_not_served(desk: Desk) -> None:
    """A server that takes back a WebSocket before it is connected finds nobody asked."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: Any) -> None:
        sent.append(message)

    await desk.app()(socket_scope(), receive, send)
    assert (sent, desk.asked) == ([], [])


async def test_notices_to_a_stalled_reader_are_few(make_desk: MakeDesk, clock: Clock) -> None:
    """A client that reads nothing and keeps asking fills no memory: it is closed for asking too often."""
    desk = make_desk(max_messages=1.0, max_subscriptions=5)
    desk.rule = lambda agent, tenant: agent if tenant == "1" else None
    client = Client(desk.app(), socket_scope())
    await settle()
    client.gate.clear()
    for _ in range(500):
        client.say({"type": "subscribe", "account_id": 2})
    await settle(2_000)
    [connection] = desk.hub.board()._connections
    assert len(connection._notices) <= 12  # type: ignore[attr-defined]
    await clock.forward(11)
    await clock.forward(2)
    assert client.task.done()


async def test_text_is_json(desk: Desk) -> None:
    """All that is sent is JSON of one line."""
    async with connected(desk.app(), socket_scope()) as client:
        client.say(SUBSCRIBE)
        await settle()
        for message in client.sent[1:]:
            assert json.loads(message["text"])
            assert "\n" not in message["text"]
