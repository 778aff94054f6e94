"""The hub and its switchboards: `cache_revalidate.push.hub`, `switchboard` and `signals`."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType
from typing import Any

import pytest

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate.push.hub import Hub
from tests.push.asgi import Client, Clock, connected, settle, socket_scope, stream_scope
from tests.push.conftest import Desk, MakeDesk


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revalidator": "x"}, "revalidator is a str"),
        ({"tickets": "secret"}, r"Tickets\(secret\)"),
        ({"settings": {"heartbeat": 10}}, "HubSettings"),
        ({"origins": "https://desk.example"}, "origins is a list"),
        ({"origins": ["desk.example"]}, "https://desk.example"),
        ({"closes_on": "SIGTERM"}, "closes_on"),
        ({"closes_on": signal.SIGTERM}, "closes_on"),
        ({"closes_on": [9_999]}, "closes_on"),
        ({"closes_on": [signal.SIGTERM, signal.SIGKILL]}, "SIGKILL"),
    ],
)
def test_what_could_not_work_is_refused(options: dict[str, Any], message: str) -> None:
    """A hub is not made of what could not work, and the error names the way out."""
    arguments: dict[str, Any] = {"revalidator": Revalidator(["label"]), **options}
    with pytest.raises(ConfigurationError, match=message):
        Hub(**arguments)


async def test_closing_tells_everyone(desk: Desk) -> None:
    """All connections are told to come again, and nobody is let in any more."""
    app = desk.app()
    stream, socket = Client(app, stream_scope()), Client(app, socket_scope())
    await settle()
    desk.hub.close()
    await stream.ended()
    await socket.ended()
    assert (stream.events[-1].name, stream.events[-1].data["code"], socket.code) == ("closed", 1001, 1001)
    for scope in (stream_scope(), socket_scope(extensions={"websocket.http.response": {}})):
        async with connected(app, scope) as client:
            await client.ended()
            assert (client.status, client.headers[b"retry-after"]) == (503, b"5")
    assert (desk.hub.stats.connections, desk.hub.stats.opened, desk.hub.stats.refused) == (0, 2, 2)


async def test_closing_does_not_wait_for_readers(desk: Desk, clock: Clock) -> None:
    """A reader that takes nothing holds nobody up for longer than a moment."""
    client = Client(desk.app(), stream_scope())
    await settle()
    client.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle()
    desk.hub.close()
    await settle()
    await clock.forward(1.1)
    await clock.forward(1.1)
    assert client.task.done()


@pytest.mark.parametrize("turns", range(6))
async def test_closing_may_come_at_any_moment(desk: Desk, clock: Clock, turns: int) -> None:
    """However far a change has come on its way to a reader that takes nothing, closing is not held up."""
    client = Client(desk.app(), stream_scope())
    await settle()
    client.gate.clear()
    await desk.revalidator.bump(1, "label")
    await settle(turns)
    desk.hub.close()
    await settle()
    for _ in range(2):
        await clock.forward(1.1)
    assert client.task.done()
    assert (desk.hub.stats.connections, desk.hub.board().sending) == (0, {})


async def test_a_hub_closes_from_any_thread(desk: Desk) -> None:
    """What closes it may be a thread of the app's."""
    client = Client(desk.app(), stream_scope())
    await settle()
    thread = threading.Thread(target=desk.hub.close)
    thread.start()
    await client.ended()
    thread.join()
    assert client.events[-1].data["code"] == 1001


async def test_it_is_open_while_the_app_runs(desk: Desk) -> None:
    """The end of the app's lifespan ends all connections, and waits for their farewells; a new one opens it anew."""
    app = desk.app()
    for _ in range(2):
        async with desk.revalidator.lifespan():
            client = Client(app, stream_scope())
            await settle()
            assert client.status == 200
        assert desk.hub.stats.connections == 0
        await client.ended()
        assert client.events[-1].data["code"] == 1001
        async with connected(app, stream_scope()) as late:
            assert late.status == 503


async def test_it_waits_not_for_ever(desk: Desk, clock: Clock) -> None:
    """A connection that does not end keeps the app from ending for a moment only."""

    class Stubborn:
        viewer = "ann"
        subscriptions: dict[str, Any] = {}  # noqa: RUF012

        def close(self, closing: object) -> None:
            """Do nothing."""

        def beat(self, now: float) -> None:
            """Do nothing."""

    async def run() -> None:
        async with desk.hub.running():
            desk.hub.board().add(Stubborn())  # type: ignore[arg-type]

    running = asyncio.create_task(run())
    await settle()
    assert not running.done()
    await clock.forward(2.1)
    assert running.done()


@pytest.mark.parametrize("first", [0, 1])
async def test_two_apps_may_share_it(desk: Desk, first: int) -> None:
    """The end of one app, whichever it is, ends nothing of the other's."""
    before = signal.getsignal(signal.SIGTERM)
    stacks = [AsyncExitStack(), AsyncExitStack()]
    for stack in stacks:
        await stack.enter_async_context(desk.hub.running())
    client = Client(desk.app(), stream_scope())
    await settle()
    await stacks[first].aclose()
    await settle()
    assert not client.task.done()
    assert signal.getsignal(signal.SIGTERM) != before
    async with connected(desk.app(), stream_scope()) as another:
        assert another.status == 200
    await stacks[1 - first].aclose()
    await client.ended()
    assert client.events[-1].data["code"] == 1001
    assert signal.getsignal(signal.SIGTERM) == before


async def test_two_event_loops_may_share_it(desk: Desk) -> None:
    """The end of an app on another event loop ends nothing on this one, and closing ends all."""
    revalidator, hub = desk.revalidator, desk.hub
    app = desk.app()
    told: list[int] = []

    async def other() -> None:
        async with hub.running():
            client = Client(app, stream_scope())
            while not client.updates:
                await asyncio.sleep(0)
            await revalidator.bump(1, "label")
            while len(client.updates) < 2:
                await asyncio.sleep(0)
        await client.ended()
        told.append(client.events[-1].data["code"])

    async with connected(app, stream_scope()) as client:
        await asyncio.to_thread(asyncio.run, other())
        await settle()
        assert told == [1001]
        assert len(client.updates) == 2
        assert not client.task.done()
    assert desk.hub.stats.connections == desk.hub.stats.tenants == 0


def test_closed_event_loops_are_forgotten() -> None:
    """A hub that is used on one event loop after another keeps none of them."""
    hub = Hub(Revalidator(["label"]))

    async def use() -> None:
        hub.board()

    for _ in range(5):
        asyncio.run(use())
    assert len(hub._boards) == 1
    hub.close()


def test_it_runs_where_there_is_no_event_loop_of_asyncio_s() -> None:
    """An app whose server runs it on trio starts and ends, though nobody can connect."""
    hub = Hub(Revalidator(["label"]))
    running = hub.running()
    with pytest.raises(StopIteration):
        running.__aenter__().send(None)
    with pytest.raises(StopIteration):
        running.__aexit__(None, None, None).send(None)


async def test_heartbeats_come_after_a_new_start(desk: Desk, clock: Clock) -> None:
    """A hub that runs anew at once looks after its connections again."""
    for _ in range(2):
        async with desk.hub.running():
            client = Client(desk.app(), stream_scope())
            await settle()
            for _ in range(3):
                await clock.forward(8)
            assert "heartbeat" in client.names
        await client.ended()


@asynccontextmanager
async def handled(number: signal.Signals, heard: list[int]) -> AsyncIterator[None]:
    """Handle a signal as a server does."""

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(number, note)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_heard_before_the_server_hears_it(desk: Desk, number: signal.Signals) -> None:
    """Clients are told to come again; then the server's own handler has its turn, and it is the one that stays."""
    heard: list[int] = []
    async with handled(number, heard):
        server_s = signal.getsignal(number)
        async with desk.hub.running():
            client = Client(desk.app(), stream_scope())
            await settle()
            os.kill(os.getpid(), number)
            await client.ended()
            await settle()
            assert heard == [number]
            assert client.events[-1].data["code"] == 1001
            os.kill(os.getpid(), number)
            await settle()
            assert heard == [number, number]
        assert signal.getsignal(number) is server_s


async def test_a_signal_finds_nobody(desk: Desk) -> None:
    """Where nobody has to be told the server hears it at once."""
    heard: list[int] = []
    async with handled(signal.SIGTERM, heard), desk.hub.running():
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]


async def test_a_signal_that_is_ignored_stays_so(make_desk: MakeDesk) -> None:
    """What the process ignores, and what the app does not name, is not handled."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        async with make_desk().hub.running():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    hub = Hub(Revalidator(["label"]), closes_on=[])
    async with hub.running():
        assert signal.getsignal(signal.SIGTERM) == before


async def test_who_handles_a_signal_later_keeps_it(desk: Desk) -> None:
    """A handler that somebody has set meanwhile is not taken away."""

    def mine(number: int, frame: FrameType | None) -> None:
        """Do nothing."""

    before = signal.getsignal(signal.SIGTERM)
    try:
        async with desk.hub.running():
            signal.signal(signal.SIGTERM, mine)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


ENDED_BY_DEFAULT = """
import asyncio, os, signal
from cache_revalidate import Revalidator
from cache_revalidate.push.hub import Hub
from tests.push.asgi import Client, nothing, settle, stream_scope
from cache_revalidate import CacheRevalidateMiddleware, allow_everyone

class Loud(Client):
    async def _send(self, message):
        await super()._send(message)
        print(self.names, flush=True)

async def main():
    revalidator = Revalidator(["label"])
    app = CacheRevalidateMiddleware(nothing, revalidator=revalidator, authorize=allow_everyone)
    async with revalidator.lifespan():
        client = Loud(app, stream_scope())
        await settle()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_signal_that_nobody_handles_ends_the_process() -> None:
    """Clients are told to come again first; then the process ends by it."""
    done = subprocess.run(
        [sys.executable, "-c", ENDED_BY_DEFAULT], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert done.stdout.endswith("['account.cache_invalidated', 'closed']\n")


async def test_it_runs_in_a_thread(desk: Desk) -> None:
    """Where signals can't be handled the app runs without."""

    async def run() -> object:
        async with desk.hub.running():
            return signal.getsignal(signal.SIGTERM)

    assert await asyncio.to_thread(asyncio.run, run()) == signal.getsignal(signal.SIGTERM)
