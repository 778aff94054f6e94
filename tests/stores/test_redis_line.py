"""A line to a node of a cluster, which a test plays: what no real one can be made to do at will."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import redis.asyncio
from redis.crc import key_slot

from cache_revalidate.stores.listening import Line as AnyLine
from cache_revalidate.stores.mirror import MirrorStats
from cache_revalidate.stores.redis.line import Line
from cache_revalidate.types import Tokens
from tests.stores.mirrored import until
from tests.support.servers import HOST

ONE, OTHER = "n:{1}", "n:{2}"


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def confirmed(self, line: AnyLine) -> None:
        """Note it."""
        self.told.append("confirmed")

    def heard(self, tokens: Tokens) -> None:
        """Note it."""
        self.told.append("heard")

    def lost(self) -> None:
        """Note it."""
        self.told.append("lost")


class Node:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def asked(self) -> list[str]:
        """Return the next command, having answered what is no subscription."""
        while True:
            words = []
            for _ in range(int((await self._reader.readline())[1:])):
                size = int((await self._reader.readline())[1:])
                words.append((await self._reader.readexactly(size + 2))[:-2].decode())
            if words[0] == "PING":
                self.say("pong", words[1])
            elif words[0] == "CLIENT":
                self._writer.write(b"+OK\r\n")
            else:
                return words

    def say(self, *words: str | int) -> None:
        """Send an array, numbers as such."""
        parts = [f":{word}\r\n" if isinstance(word, int) else f"${len(word)}\r\n{word}\r\n" for word in words]
        self._writer.write(f"*{len(words)}\r\n{''.join(parts)}".encode())

    def moved(self, channel: str) -> None:
        """Say that a channel's slot is elsewhere."""
        self._writer.write(f"-MOVED {key_slot(channel.encode())} 127.0.0.1:1\r\n".encode())

    def fail(self, error: str) -> None:
        """Send an error."""
        self._writer.write(f"-{error}\r\n".encode())

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


Connected = Callable[[], AbstractAsyncContextManager[tuple[Line, Node, Listener, asyncio.Task[None]]]]


@pytest.fixture
def stats() -> MirrorStats:
    """Give counts."""
    return MirrorStats()


@pytest.fixture
def connected(stats: MirrorStats) -> Connected:
    """Give a function that makes a line and its node, with a listener of the first channel."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[tuple[Line, Node, Listener, asyncio.Task[None]]]:
        nodes: asyncio.Queue[Node] = asyncio.Queue()
        server = await asyncio.start_server(lambda *streams: nodes.put_nowait(Node(*streams)), HOST, 0)
        port = server.sockets[0].getsockname()[1]
        line = Line(lambda: redis.asyncio.Connection(host=HOST, port=port, protocol=2), stats, sharded=True)
        listener = Listener()
        line.listen(ONE, listener)
        running = asyncio.ensure_future(line.run(5.0))
        node = await nodes.get()
        assert await node.asked() == ["SSUBSCRIBE", ONE]
        node.say("ssubscribe", ONE, 1)
        await until(lambda: listener.told == ["confirmed"], "the subscription is confirmed")
        try:
            yield line, node, listener, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            node.close()
            server.close()
            await server.wait_closed()

    return connected


async def test_left_while_the_slot_moves(connected: Connected) -> None:
    """When a node ends a subscription by itself while it is being left, the other subscriptions go on."""
    async with connected() as (line, node, first, running):
        other = Listener()
        line.leave(ONE, first)
        line.listen(OTHER, other)
        assert await node.asked() == ["SUNSUBSCRIBE", ONE]
        assert await node.asked() == ["SSUBSCRIBE", OTHER]
        node.say("sunsubscribe", ONE, 0)  # by itself
        node.moved(ONE)
        node.say("ssubscribe", OTHER, 1)
        node.say("smessage", OTHER, "label 10000000000000000000")
        await until(lambda: other.told == ["confirmed", "heard"], "the other is confirmed, and hears")
        assert not running.done()


async def test_left_and_asked_for_again_while_the_slot_moves(connected: Connected) -> None:
    """Who comes back to a channel whose slot has moved hears that it came to nothing, once."""
    async with connected() as (line, node, first, running):
        again, other = Listener(), Listener()
        line.leave(ONE, first)
        line.listen(ONE, again)
        line.listen(OTHER, other)
        for _ in range(3):
            await node.asked()
        node.say("sunsubscribe", ONE, 0)
        node.moved(ONE)
        node.moved(ONE)
        node.say("ssubscribe", OTHER, 1)
        await until(lambda: other.told == ["confirmed"], "the other is confirmed")
        assert again.told == ["lost"]
        assert not running.done()


@pytest.mark.parametrize("error", ["CLUSTERDOWN Hash slot not served", "TRYAGAIN later", "MOVED"])
async def test_not_here(error: str, connected: Connected) -> None:
    """A node that does not serve a slot, for the time being or for good, is listened to for the others."""
    async with connected() as (line, node, first, running):
        other = Listener()
        line.listen(OTHER, other)
        await node.asked()
        if error == "MOVED":
            node.moved(OTHER)
        else:
            node.fail(error)
        await until(lambda: other.told == ["lost"], "the other hears of it")
        node.say("smessage", ONE, "label 10000000000000000000")
        await until(lambda: first.told == ["confirmed", "heard"], "the first hears on")
        assert not running.done()


async def test_the_last_command_counts(connected: Connected) -> None:
    """A channel that is left and asked for again is confirmed by the answer to the last command alone."""
    async with connected() as (line, node, first, _):
        second, third = Listener(), Listener()
        line.leave(ONE, first)
        line.listen(ONE, second)
        line.leave(ONE, second)
        line.listen(ONE, third)
        for _ in range(4):
            await node.asked()
        node.say("sunsubscribe", ONE, 0)
        node.say("ssubscribe", ONE, 1)
        node.say("sunsubscribe", ONE, 0)
        node.say("smessage", ONE, "label 10000000000000000000")
        await until(lambda: "heard" in third.told, "that is taken")
        node.say("ssubscribe", ONE, 1)
        await until(lambda: third.told == ["heard", "confirmed"], "the last is confirmed")
        assert second.told == []


async def test_several_listeners(connected: Connected) -> None:
    """Who comes to a channel that is confirmed hears so at once; the last to leave ends the subscription."""
    async with connected() as (line, node, first, _):
        second, third, fourth = Listener(), Listener(), Listener()
        line.listen(ONE, second)
        assert second.told == ["confirmed"]
        line.listen(OTHER, third)
        line.listen(OTHER, fourth)
        assert await node.asked() == ["SSUBSCRIBE", OTHER]
        line.leave(ONE, first)
        node.say("ssubscribe", OTHER, 1)
        node.say("smessage", ONE, "label 10000000000000000000")
        await until(lambda: second.told == ["confirmed", "heard"], "the second hears")
        assert third.told == fourth.told == ["confirmed"]
        assert first.told == ["confirmed"]
        line.leave(ONE, first)
        line.leave(ONE, second)
        assert await node.asked() == ["SUNSUBSCRIBE", ONE]
        line.listen(ONE, first)
        assert first.told == ["confirmed"]  # not yet again
        assert await node.asked() == ["SSUBSCRIBE", ONE]
        node.say("sunsubscribe", ONE, 1)
        node.say("ssubscribe", ONE, 2)
        await until(lambda: first.told == ["confirmed", "confirmed"], "that is confirmed")
        node.close()
        await until(lambda: first.told[-1] == third.told[-1] == fourth.told[-1] == "lost", "all lose it")
        assert second.told == ["confirmed", "heard"]


@pytest.mark.parametrize(("answer", "times"), [(("ssubscribe", OTHER, 1), 1), (("what", "is", "this"), 3)])
async def test_nonsense(answer: tuple[str | int, ...], times: int, connected: Connected) -> None:
    """A node that answers what was not asked is listened to no more: nobody goes on believing it."""
    async with connected() as (line, node, first, running):
        line.listen("n:{3}", Listener())
        await node.asked()
        for _ in range(times):
            node.say(*answer)
        await until(running.done, "the line is given up", 1.0)
        assert isinstance(running.exception(), Exception)
        assert first.told == ["confirmed", "lost"]
        assert line.believed_until == 0.0
        assert line.is_over
