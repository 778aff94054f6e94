"""The instruments of the part `push`: the load generator, what checks the events, and what reads memory."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.bench import Bench, Size
from benchmarks.contestants.feed import news
from benchmarks.contestants.push_floor import chunk, text
from benchmarks.environments import Environments
from benchmarks.progress import Progress
from benchmarks.push.crowd import CrowdError, Kind, frames, is_one_frame, masked
from benchmarks.push.crowded import Crowded, WrongEventError, check_event, memory
from benchmarks.push.lineup import FLOOR, LINEUP

HERE = Bench(Size(rounds=1, operations=1, seconds=1), Environments(Path(sys.executable)), Progress())
KINDS: list[Kind] = ["sse", "websocket"]
HOLDING = "held = bytearray({size}); print('done', flush=True); input()"


@contextmanager
def floor(kind: Kind) -> Iterator[Crowded]:
    """Run the floor's server and a load generator."""
    contestant = next(each for each in LINEUP[kind] if each.name == FLOOR)
    with Crowded(HERE, contestant, kind) as crowded:
        yield crowded


@pytest.mark.parametrize("kind", KINDS)
def test_a_crowd_has_each_event_once(kind: Kind) -> None:
    """All connections of the crowd are told of an event, and the times are in order."""
    with floor(kind) as crowded:
        crowded.crowd.do("open", count=7)
        crowded.check()
        assert crowded.crowd.do("open", count=3)["connections"] == 10
        fired = crowded.crowd.do("fire")
        assert fired["events"] == 10
        assert 0 < fired["first"] <= fired["p50"] <= fired["p99"] <= fired["last"]
        assert crowded.crowd.do("ceiling")["each"] > 0
        crowded.check()


def test_who_has_stalled_is_not_waited_for() -> None:
    """Events for a connection that nobody reads stay where they are, and the others have theirs."""
    with floor("sse") as crowded:
        crowded.crowd.do("open", count=1, stalled=True)
        crowded.crowd.do("open", count=2)
        crowded.crowd.do("fill", events=60)
        assert crowded.unread > 0  # the client's kernel has not taken all of them
        assert crowded.crowd.do("fire")["events"] == 2


def test_a_server_that_ends_a_connection_is_an_error() -> None:
    """The load generator says so, instead of going on with fewer."""
    with floor("sse") as crowded:
        crowded.crowd.do("open", count=2)
        crowded._server.kill()
        with pytest.raises(CrowdError):
            crowded.crowd.do("fire")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_event_is_right(kind: Kind) -> None:
    """What the contestants are to send passes the check; half of it, or another event, does not."""
    whole = chunk(news().frame) if kind == "sse" else text(news().message)
    check_event(whole, kind)
    for wrong in (whole[:-9], whole.replace(b"account.cache_invalidated", b"account.something_else!!!"), whole * 2):
        with pytest.raises(WrongEventError):
            check_event(wrong, kind)


def test_frames_are_read_as_they_were_written() -> None:
    """A server's frames of each length, one after the other, are told apart; a client's are masked."""
    messages = ["short", "m" * 300]
    assert frames(b"".join(map(text, messages))) == [(1, each.encode()) for each in messages]
    assert all(is_one_frame(text(each)) for each in messages)
    assert not any(is_one_frame(text(each) + b"\x89\x00") for each in messages)
    assert masked(b"ping", code=10) == b"\x8a\x84\0\0\0\0ping"
    with pytest.raises(ValueError, match="short"):
        masked(bytes(126))


def test_memory_is_a_process_s_own() -> None:
    """A process that holds 64 MiB more has about as much more to itself."""
    found = []
    for size in (0, 64 * 1024 * 1024):
        with subprocess.Popen(
            [sys.executable, "-c", HOLDING.format(size=size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            found.append(memory(process.pid))
            process.stdin.write(b"\n")
    assert found[1] - found[0] == pytest.approx(64 * 1024, rel=0.05)
