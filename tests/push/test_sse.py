"""Server-sent events: `cache_revalidate.push.sse`, and what all connections have in common."""

import asyncio
import math
import time
from contextvars import ContextVar
from typing import Any

import pytest

from cache_revalidate import EVERYONE, Grant, Tickets
from cache_revalidate.push.wire import tokens_field
from cache_revalidate.types import Message, Receive, Scope, Send
from tests.push.asgi import Client, Clock, connected, settle, stream_scope
from tests.push.conftest import MODELS, Desk, MakeDesk
from tests.push.scripted_store import ScriptedStore


async def test_the_stream_begins_with_everything(desk: Desk) -> None:
    """The answer is a stream that nobody stores or holds back, and its first event has all there is."""
    async with connected(desk.app(), stream_scope()) as client:
        assert client.status == 200
        assert client.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert client.headers[b"cache-control"] == b"no-store, no-transform"
        assert client.headers[b"x-accel-buffering"] == b"no"
        assert b"vary" in client.headers
        retry, _, _ = client.text.partition("\n\n")
        assert 1_000 <= int(retry.removeprefix("retry: ")) <= 5_000
        tokens = await desk.revalidator.tokens("1")
        tag = desk.revalidator.tag("ann")
        [event] = client.events
        assert event.name == "account.cache_invalidated"
        assert event.id == tokens_field(tokens, tag)
        assert event.data == {
            "account_id": 1,
            "cache_keys": tokens,
            "tag": tag,
            "full": True,
            "models": MODELS,
            "jitter_ms": 0,
        }
        assert desk.hub.stats.connections == desk.hub.stats.tenants == 1
    assert desk.hub.stats.connections == desk.hub.stats.tenants == 0


async def test_changes_follow(desk: Desk) -> None:
    """A bump is told to those of its tenant, and its event's id shows all that is held then."""
    app = desk.app()
    async with connected(app, stream_scope()) as client, connected(app, stream_scope("2")) as other:
        bumped = await desk.revalidator.bump(1, "label")
        await settle()
        assert client.updates[-1]["cache_keys"] == bumped
        assert "full" not in client.updates[-1]
        assert client.events[-1].id == tokens_field(await desk.revalidator.tokens("1"), desk.revalidator.tag("ann"))
        assert len(other.updates) == 1


@pytest.mark.parametrize("where", ["header", "query"])
async def test_who_shows_what_he_holds_is_told_what_differs(desk: Desk, where: str) -> None:
    """A client that comes again is told what changed while it was away, in an event that is sent even when empty."""
    app = desk.app()
    async with connected(app, stream_scope()) as client:
        [event] = client.events
    bumped = await desk.revalidator.bump(1, "label")
    identity = event.id or ""
    for expected in (bumped, {}):
        if where == "header":
            scope = stream_scope(headers=[(b"last-event-id", identity.encode())])
        else:
            scope = stream_scope(query={"known": identity})
        async with connected(app, scope) as client:
            [event] = client.events
            assert (event.data["cache_keys"], event.data["full"]) == (expected, False)
            identity = event.id or ""


async def test_the_header_counts_more_than_the_query(desk: Desk) -> None:
    """An EventSource that connects again by itself knows better than the URL that it was made with."""
    app = desk.app()
    async with connected(app, stream_scope()) as client:
        old = client.events[0].id or ""
        await desk.revalidator.bump(1, "label")
        await settle()
        new = client.events[-1].id or ""
    async with connected(app, stream_scope(query={"known": old}, headers=[(b"last-event-id", new.encode())])) as client:
        assert client.updates[0]["cache_keys"] == {}


@pytest.mark.parametrize("field", [b"garbage", b"", b'label="1"', b'*tag="other", label="17955375986758511587"'])
async def test_who_shows_something_else_is_told_all(desk: Desk, field: bytes) -> None:
    """What is malformed, or was told to somebody else, counts as nothing."""
    async with connected(desk.app(), stream_scope(headers=[(b"last-event-id", field)])) as client:
        assert client.updates[0]["full"]
        assert set(client.updates[0]["cache_keys"]) == set(MODELS)


async def test_a_slow_reader_is_told_the_newest(desk: Desk) -> None:
    """Whatever changed while a message was on its way comes as one event, with the newest tokens."""
    async with connected(desk.app(), stream_scope()) as client:
        client.gate.clear()
        for _ in range(5):
            for model in MODELS:
                newest = await desk.revalidator.bump(1, model)
                await settle()
        client.gate.set()
        await settle()
        assert len(client.updates) == 3  # the first, the one that was on its way, and all the rest
        assert client.updates[-1]["cache_keys"]["team"] == newest["team"]
        assert client.updates[-1]["cache_keys"] == await desk.revalidator.tokens("1")


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
async def test_a_stream_is_got(desk: Desk, method: str) -> None:
    """Another method is answered 405, with what is allowed."""
    async with connected(desk.app(), stream_scope(method=method)) as client:
        await client.ended()
        assert (client.status, client.headers[b"allow"]) == (405, b"GET")
        assert client.sent[-1]["body"] == b"" if method == "HEAD" else client.text


async def test_who_may_not_see_is_refused(desk: Desk) -> None:
    """The answers are those of the keys endpoint: 401, 403 and 404."""
    desk.rule = lambda agent, tenant: agent if tenant == "1" else None
    for scope, status in (
        (stream_scope("2"), 403),
        (stream_scope(agent="nobody"), 401),
        (stream_scope("9" * 200), 404),
    ):
        async with connected(desk.app(), scope) as client:
            await client.ended()
            assert client.status == status
    assert desk.hub.stats.connections == 0


async def test_foreign_pages_are_refused(make_desk: MakeDesk) -> None:
    """A page of an origin that is not listed gets 403, before anybody is asked; the others are let in."""
    desk = make_desk(origins=["https://other.example"])
    for origin, status in (
        (b"https://evil.example", 403),
        (b"https://other.example", 200),
        (b"https://desk.example", 200),
    ):
        async with connected(desk.app(), stream_scope(headers=[(b"origin", origin)])) as client:
            assert client.status == status
    assert len(desk.asked) == 2
    assert desk.hub.stats.refused == 1


@pytest.mark.parametrize(
    ("limit", "others", "status"),
    [
        ("max_connections", stream_scope("2", agent="bob"), 503),
        ("max_tenants", stream_scope("2", agent="bob"), 429),
        ("max_per_tenant", stream_scope("1", agent="bob"), 429),
        ("max_per_viewer", stream_scope("2", agent="ann"), 429),
    ],
)
async def test_there_are_limits(make_desk: MakeDesk, limit: str, others: Any, status: int) -> None:
    """Beyond a limit a client is told to come again, and finds room when another has gone."""
    desk = make_desk(**{limit: 1})
    app = desk.app()
    async with connected(app, stream_scope()):
        async with connected(app, others) as client:
            await client.ended()
            assert (client.status, client.headers[b"retry-after"]) == (status, b"5")
        if limit not in {"max_connections", "max_tenants"}:
            async with connected(app, stream_scope("3", agent="eve")) as client:
                assert client.status == 200
    async with connected(app, others) as client:
        assert client.status == 200
    assert desk.hub.stats.refused == 1


async def test_everyone_is_no_viewer(make_desk: MakeDesk) -> None:
    """Where all see the same there is no limit for one of them."""
    desk = make_desk(max_per_viewer=1)
    desk.rule = lambda agent, tenant: EVERYONE
    async with connected(desk.app(), stream_scope()), connected(desk.app(), stream_scope()) as client:
        assert client.status == 200


async def test_heartbeats_say_whether_the_store_answers(make_desk: MakeDesk, clock: Clock) -> None:
    """They come in their time, live or not; who comes while the store is away begins when it is back."""
    store = ScriptedStore()
    desk = make_desk(store)
    async with connected(desk.app(), stream_scope()) as client:
        await clock.forward(14.9)
        assert client.names[1:] == []
        await clock.forward(1.1)
        store.is_away = True
        store.lose()
        await clock.forward(15.5)
        async with connected(desk.app(), stream_scope()) as late:
            assert late.updates == []
            store.is_away = False
            await clock.forward(1.1)
            assert late.updates[0]["full"]
        await clock.forward(15)
        assert [event.data for event in client.events[1:]] == [{"live": True}, {"live": False}, {"live": True}]
        assert {*client.names[1:]} == {"heartbeat"}


async def test_a_reader_that_stalls_is_closed(desk: Desk, clock: Clock) -> None:
    """A message that is not taken in time ends the connection, and nothing more is tried."""
    client = Client(desk.app(), stream_scope())
    await settle()
    client.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle()
    await clock.forward(9)
    assert not client.task.done()
    await clock.forward(2)
    await clock.forward(2)  # for the last message, which is not taken either
    assert client.task.done()
    await client.ended()
    assert (desk.hub.stats.stalled, desk.hub.stats.connections, desk.hub.stats.tenants) == (1, 0, 0)


async def test_a_reader_that_stalled_gets_an_end(desk: Desk, clock: Clock) -> None:
    """A reader that takes something again in the last moment finds the stream at its end."""
    client = Client(desk.app(), stream_scope())
    await settle()
    client.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle()
    await clock.forward(11)
    client.gate.set()
    await client.ended()
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert "closed" not in client.names


@pytest.mark.parametrize("failure", [OSError(), ConnectionResetError(), RuntimeError("after close"), TimeoutError()])
async def test_a_send_that_fails_is_a_client_that_has_gone(
    desk: Desk, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """However a server says that nobody is there any more, it is no failure of the app's."""
    client = Client(desk.app(), stream_scope())
    await settle()
    client.failure = failure
    await desk.revalidator.bump(1, "label")
    await client.ended()
    assert desk.hub.stats.connections == 0
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


async def test_a_receive_that_fails_ends_the_stream(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong where the server is listened to is logged, and the client told to come again."""
    app = desk.app()
    sent: list[Any] = []

    async def receive() -> Any:
        raise ZeroDivisionError

    async def send(message: Any) -> None:
        sent.append(message)

    await app(stream_scope(), receive, send)
    assert b'"code":1011' in sent[-1]["body"]
    assert "ZeroDivisionError" in caplog.text
    assert desk.hub.stats.connections == 0


async def test_an_old_stream_ends(desk: Desk, clock: Clock) -> None:
    """A stream lives as long as is set, at the most, and its client may come again at once."""
    client = Client(desk.app(), stream_scope())
    await settle()
    for _ in range(int(0.8 * 3_600 / 15) - 1):
        await clock.forward(15)
    assert not client.task.done()
    for _ in range(51):
        await clock.forward(15)
    await client.ended()
    assert client.events[-1].name == "closed"
    assert client.events[-1].data["code"] == 4410
    assert 100 <= int(client.text.rpartition("retry: ")[2].split("\n")[0]) <= 200
    assert client.sent[-1]["more_body"] is False


async def test_it_is_asked_again(desk: Desk, clock: Clock) -> None:
    """Every so often the rule is asked anew, and who is refused then is told no more, and why."""
    client = Client(desk.app(), stream_scope())
    await settle()
    await clock.forward(59)
    assert len(desk.asked) == 1
    await clock.forward(2)
    assert len(desk.asked) == 2
    desk.rule = lambda agent, tenant: None
    await clock.forward(61)
    await client.ended()
    assert (client.events[-1].name, client.events[-1].data["code"]) == ("closed", 4403)
    assert desk.hub.stats.expelled == 1


async def test_a_grant_that_ends_is_asked_for_again(desk: Desk, clock: Clock) -> None:
    """At the end of a grant the rule is asked, long before it would be otherwise; what it grants then lasts on."""
    desk.rule = lambda agent, tenant: Grant(agent, time.time() + 5) if len(desk.asked) <= 2 else None
    client = Client(desk.app(), stream_scope())
    await settle()
    await clock.forward(4)
    assert len(desk.asked) == 1
    await clock.forward(2)
    assert (len(desk.asked), client.task.done()) == (2, False)
    await clock.forward(6)
    await client.ended()
    assert client.events[-1].data["code"] == 4403


async def test_a_slow_reader_is_asked_for_all_the_same(desk: Desk, clock: Clock) -> None:
    """Who always has something to be told is told nothing more once his grant is over."""
    desk.rule = lambda agent, tenant: Grant(agent, time.time() + 5) if len(desk.asked) == 1 else None
    client = Client(desk.app(), stream_scope())
    await settle()
    client.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle()
    await clock.forward(7)
    late = await desk.revalidator.bump(1, "inbox")
    client.gate.set()
    await client.ended()
    assert client.events[-1].data["code"] == 4403
    assert late["inbox"] not in client.text


async def test_whose_grant_is_over_is_told_nothing(desk: Desk, clock: Clock) -> None:
    """A change that comes when the grant is over, and nobody has noticed yet, is told to nobody before he is asked."""
    desk.rule = lambda agent, tenant: Grant(agent, time.time() + 5) if len(desk.asked) == 1 else None
    client = Client(desk.app(), stream_scope())
    await settle()
    clock.ahead += 5.01
    late = await desk.revalidator.bump(1, "inbox")
    await client.ended()
    assert client.events[-1].data["code"] == 4403
    assert late["inbox"] not in client.text


mine: ContextVar[str] = ContextVar("mine")


async def test_middleware_may_set_and_reset(desk: Desk) -> None:
    """What is between app and server may set a variable while it sends, however long that takes, and reset it."""
    app = desk.app()
    seen: list[str] = []

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        mine.set(scope["path"])

        async def sending(message: Message) -> None:
            seen.append(mine.get())
            token = mine.set("sending")
            try:
                async with asyncio.timeout(0 if client.gate.is_set() else None):
                    await send(message)
            finally:
                mine.reset(token)

        await app(scope, receive, sending)

    client = Client(between, stream_scope())
    await settle()
    for _ in range(3):
        client.gate.clear()
        await desk.revalidator.bump(1, "label")
        await settle()
        client.gate.set()
        await settle()
        await desk.revalidator.bump(1, "label")
        await settle()
    assert len(client.updates) == 7
    assert set(seen) == {stream_scope()["path"]}
    await client.end()


async def test_a_time_limit_of_one_keeps_nothing_from_others(desk: Desk) -> None:
    """What is between app and server may end its own waiting for a reader; all others are told all the same."""
    app = desk.app()

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            async with asyncio.timeout(None if slow.gate.is_set() else 0):
                await send(message)

        await app(scope, receive, sending)

    slow = Client(between, stream_scope())
    await settle()
    crowd = [Client(app, stream_scope(agent=f"agent-{number}")) for number in range(250)]
    await settle()
    slow.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle()
    assert {len(client.updates) for client in crowd} == {2}
    slow.gate.set()
    for client in (slow, *crowd):
        await client.end()


async def test_a_failure_of_one_keeps_nothing_from_others(desk: Desk) -> None:
    """A connection that fails when it is told something ends alone."""
    app = desk.app()
    clients = [Client(app, stream_scope(agent=agent)) for agent in ("ann", "bob", "eve")]
    await settle()
    failing = next(iter(desk.hub.board()._connections))
    failing.subscriptions["1"].topic = None  # type: ignore[misc, assignment]
    await desk.revalidator.bump(1, "label")
    await settle()
    assert [len(client.updates) for client in clients[1:]] == [2, 2]
    with pytest.raises(AttributeError):
        await clients[0].ended()
    for client in clients[1:]:
        await client.end()


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_whatever_a_server_raises_ends_the_connection(desk: Desk, error: type[BaseException]) -> None:
    """What a server's `send` raises besides is the app's to see, from wherever it was called."""
    client = Client(desk.app(), stream_scope())
    await settle()
    client.failure = error()
    await desk.revalidator.bump(1, "label")
    with pytest.raises(error):
        await client.ended()
    assert desk.hub.stats.connections == 0


async def test_another_viewer_begins_anew(desk: Desk, clock: Clock) -> None:
    """A client that is somebody else now is told everything, under the new tag."""
    async with connected(desk.app(), stream_scope()) as client:
        desk.rule = lambda agent, tenant: "bob"
        await clock.forward(61)
        before, after = client.updates
        assert after["full"]
        assert (before["tag"], after["tag"]) == (desk.revalidator.tag("ann"), desk.revalidator.tag("bob"))
        assert after["cache_keys"] == before["cache_keys"]


async def test_a_rule_that_hangs_refuses(desk: Desk, clock: Clock) -> None:
    """Who can't be asked for in time is refused."""
    client = Client(desk.app(), stream_scope())
    await settle()
    desk.rule = hanging
    await clock.forward(61)
    assert not client.task.done()
    await clock.forward(11)
    await client.ended()
    assert client.events[-1].data["code"] == 4403


async def hanging(agent: str, tenant: str) -> None:
    """Never answer."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["gone", "closed"])
async def test_a_rule_that_hangs_holds_nobody(desk: Desk, clock: Clock, how: str) -> None:
    """While it is asked again, the end of either side is heard."""
    client = Client(desk.app(), stream_scope())
    await settle()
    desk.rule = hanging
    await clock.forward(61)
    if how == "gone":
        client.go()
        await clock.forward(0)
    else:
        desk.hub.close()
        await settle()
        await clock.forward(1.1)
    assert client.task.done()
    assert ("closed" in client.names) == (how == "closed")


async def test_an_answer_that_comes_while_it_closes_is_not_needed(desk: Desk, clock: Clock) -> None:
    """A stream that is closed while the rule is asked again says why it was, whatever the answer is."""
    client = Client(desk.app(), stream_scope())
    await settle()
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def slow(agent: str, tenant: str) -> None:
        await answered

    desk.rule = slow
    await clock.forward(61)
    desk.hub.close()
    await settle()
    answered.set_result(None)
    await client.ended()
    assert client.events[-1].data["code"] == 1001
    assert desk.hub.stats.expelled == 0


async def test_tickets_let_in(make_desk: MakeDesk, clock: Clock) -> None:
    """A ticket is got by POST, and shown in the query; the stream ends when it would be asked again."""
    desk = make_desk(tickets=Tickets("s" * 32))
    app = desk.app()
    async with connected(app, stream_scope(method="POST", endpoint="ticket")) as client:
        await client.ended()
        assert client.status == 200
        assert client.headers[b"cache-control"] == b"no-store"
        ticket = client.text.split('"')[3]
        assert '"expires_in": 30' in client.text
    client = Client(app, stream_scope(query={"ticket": ticket}, agent="nobody"))
    await settle()
    assert client.updates[0]["tag"] == desk.revalidator.tag("ann")
    await clock.forward(61)
    await client.ended()
    assert client.events[-1].data["code"] == 4410


async def test_a_ticket_s_grant_ends(make_desk: MakeDesk, clock: Clock) -> None:
    """A stream that was opened by a ticket lasts no longer than what the ticket was issued for."""
    tickets = Tickets("s" * 32)
    desk = make_desk(tickets=tickets)
    ticket = tickets.issue("1", Grant("ann", time.time() + 5))
    client = Client(desk.app(), stream_scope(query={"ticket": ticket}))
    await settle()
    await clock.forward(6)
    await client.ended()
    assert client.events[-1].data["code"] == 4403


async def test_tickets_are_refused(make_desk: MakeDesk) -> None:
    """Who may not see a tenant, or asks from elsewhere or otherwise, gets none; nor does anyone without `tickets`."""
    desk = make_desk(tickets=Tickets("s" * 32))
    desk.rule = lambda agent, tenant: agent if tenant == "1" else None
    evil = [(b"origin", b"https://evil.example")]
    for scope, status in (
        (stream_scope("2", method="POST", endpoint="ticket"), 403),
        (stream_scope(method="POST", endpoint="ticket", agent="nobody"), 401),
        (stream_scope(method="POST", endpoint="ticket", headers=evil), 403),
        (stream_scope(method="GET", endpoint="ticket"), 405),
        (stream_scope("9" * 200, method="POST", endpoint="ticket"), 404),
        (stream_scope(query={"ticket": "x"}), 403),
    ):
        async with connected(desk.app(), scope) as client:
            await client.ended()
            assert client.status == status
    async with connected(make_desk().app(), stream_scope(method="POST", endpoint="ticket")) as client:
        await client.ended()
        assert client.status == 404


async def test_a_grant_without_end_is_infinite(desk: Desk) -> None:
    """A plain viewer's time is not over before the stream's own."""
    assert math.isinf(Grant("ann", math.inf).expires_at)
    async with connected(desk.app(), stream_scope()):
        [connection] = desk.hub.board()._connections
        assert connection.subscriptions["1"].expires_at == math.inf


@pytest.mark.parametrize("when", ["waiting", "sending", "asking", "beginning"])
async def test_a_cancelled_stream_leaves_nothing(desk: Desk, clock: Clock, when: str) -> None:
    """Wherever a server cancels the app, the connection is cleared away, and its room another's."""
    client = Client(desk.app(), stream_scope())
    if when == "beginning":
        client.gate.clear()
    await settle()
    if when == "sending":
        client.gate.clear()
        await desk.revalidator.bump(1, "label")
        await settle()
    elif when == "asking":
        desk.rule = hanging
        await clock.forward(61)
    client.task.cancel()
    await settle()
    if not client.task.done():
        await clock.forward(1.1)
    assert client.task.cancelled()
    board = desk.hub.board()
    assert (desk.hub.stats.connections, desk.hub.stats.tenants) == (0, 0)
    assert (board._viewers, board._topics, board.sending, board.wheel._slot_of) == ({}, {}, {}, {})
