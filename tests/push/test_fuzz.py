"""Whatever a socket is sent, it is closed with a code or goes on; the app never crashes, and says no traceback."""

import asyncio
import json
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.push.desks import assert_no_traceback, desk, socket_path
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.servers import AppServer, AppServerProgram

OURS = {1009, 4400, 4403, 4429}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
messages = json_values | st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "pong", "ping", ""]) | json_values},
    optional={
        "account_id": st.integers() | st.sampled_from([1, "1", "01", -1, 1.5, True, "*", "x" * 200]) | json_values,
        "known": st.fixed_dictionaries({}, optional={"cache_keys": json_values, "tag": json_values})
        | st.fixed_dictionaries({"cache_keys": st.dictionaries(st.sampled_from(["label", "x"]), json_values)})
        | json_values,
    },
)
frames = (
    st.tuples(st.just("text"), messages.map(json.dumps) | st.text(max_size=100))
    | st.tuples(st.just("bytes"), st.binary(max_size=100))
    | st.tuples(st.just("text"), st.just("[" * 5_000))
)


@pytest.fixture(scope="module", params=["uvicorn", "granian", "hypercorn"])
def app(request: pytest.FixtureRequest) -> Iterator[AppServer]:
    """The app, in a process of its own."""
    server: AppServerProgram = request.param
    with desk(server=server) as app:
        yield app
        assert_no_traceback(app)


def is_over(socket: EventSocket) -> bool:
    """Say whether the server has ended the connection, or said so: hypercorn leaves the rest to who floods it."""
    return socket.closed or socket.close_code is not None


def is_cut_off(app: AppServer, socket: EventSocket) -> bool:
    """Say whether the client has missed the end: if it has sent more, these servers have the connection reset."""
    return "uvicorn" not in app.command() and socket.close_code is None


async def is_well(port: int) -> None:
    """See a new client get its snapshot."""
    socket = await EventSocket.open(port, socket_path())
    socket.subscribe(1)
    await until(lambda: socket.views["1"].fulls, "a new client has its snapshot")
    socket.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sent=st.lists(frames, min_size=1, max_size=6))
def test_whatever_is_said(app: AppServer, sent: list[tuple[str, str | bytes]]) -> None:
    """Any message is taken, refused, or answered by an error event and the close code that it names."""

    async def say() -> None:
        socket = await EventSocket.open(app.port, socket_path(7))
        for kind, data in sent:
            if kind == "text":
                socket.send_text(str(data))
            else:
                assert isinstance(data, bytes)
                socket.send_bytes(data)
        # A last message that is understood: it is answered, unless one before it was not.
        socket.subscribe(1)
        await until(lambda: is_over(socket) or socket.views["1"].fulls, "it is answered or closed")
        if is_over(socket) and not is_cut_off(app, socket):
            assert socket.close_code in OURS
            assert [error["code"] for error in socket.errors] == [socket.close_code]
            assert socket.errors[0]["detail"]
        socket.close()

    asyncio.run(say())


async def test_random_bytes(app: AppServer) -> None:
    """Bytes that need not be frames end that connection at most."""
    chance = random.Random(5)
    for _ in range(60):
        socket = await EventSocket.open(app.port, socket_path())
        for _ in range(chance.randrange(1, 4)):
            socket.send_raw(chance.randbytes(chance.randrange(1, 300)))
        socket.close()
    await is_well(app.port)


@pytest.mark.parametrize("text", ["x", "{}", "[]", "null", '{"type":"dance"}', '{"type":"subscribe","account_id":[]}'])
async def test_a_message_that_is_not_understood(app: AppServer, text: str) -> None:
    """An unknown message is answered by an error that says what is wrong, and a close code."""
    socket = await EventSocket.open(app.port, socket_path())
    socket.send_text(text)
    await until(lambda: socket.closed, "it is closed")
    assert (socket.close_code, [error["code"] for error in socket.errors]) == (4400, [4400])


async def test_a_message_too_large(app: AppServer) -> None:
    """A message beyond the limit closes the socket with the protocol's own code."""
    socket = await EventSocket.open(app.port, socket_path())
    socket.subscribe(1, {"cache_keys": {}, "tag": "x" * 1_000_000})
    await until(lambda: socket.closed, "it is closed")
    assert socket.close_code == 1009


async def test_too_many_messages(app: AppServer) -> None:
    """A client that floods the socket is closed with a code that says so, and others are served."""
    socket = await EventSocket.open(app.port, socket_path())
    for _ in range(5_000):
        socket.send({"type": "pong"})
    await until(lambda: is_over(socket), "it is closed")
    assert socket.close_code == 4429 or is_cut_off(app, socket)
    await is_well(app.port)
    socket.close()
