"""`python -m tests.push.soak --minutes 10`: clients come and go while tokens change, and memory has to stay flat.

They are let in by two workers of uvicorn, over real Redis, which cuts all its subscribers off now and then. Every few
seconds the bumps pause, and every client has to have the store's tokens. The exit status is 1 if one does not, or if
the workers' memory has grown in the end.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from tests.push.app import resident_kib
from tests.push.client import Client
from tests.push.desks import Truth, bump, close_all, desk, events_path, socket_path, truth_of
from tests.push.sse_client import EventStream, open_streams
from tests.push.ws_client import EventSocket
from tests.support.redis_replication import ask
from tests.support.servers import AppServer, RedisServer

TENANTS: Final = [str(number) for number in range(1, 9)]
MODELS: Final = ["inbox", "label", "team"]
STREAMS: Final = 150
SOCKETS: Final = 50
LONGEST_STAY: Final = 20.0
STALLED: Final = 0.05
"""The share of streams whose client stops reading."""
ROUND_SECONDS: Final = 5.0
MOST_GROWTH: Final = 0.04
"""Of memory, from the first third of the soak after its warm-up to the last."""
WARM_UP: Final = 0.2
HUB: Final = {"heartbeat": 1.0, "send_timeout": 2.0, "max_age": 15.0, "recheck": 5.0, "max_messages": 50.0}


@dataclass
class Guest:
    """A client, what it is told of, and until when it stays."""

    client: EventStream | EventSocket
    tenant: str
    leaves_at: float
    is_stalled: bool = False

    @property
    def tokens(self) -> dict[str, str]:
        """What it has of its tenant."""
        if isinstance(self.client, EventStream):
            return self.client.tokens
        return self.client.views[self.tenant].tokens


@dataclass
class Report:
    """What a soak has seen."""

    memory: list[int] = field(default_factory=list)
    """KiB of all workers, after each round."""
    guests: int = 0
    bumps: int = 0
    rounds: int = 0

    @property
    def growth(self) -> float:
        """How much more memory there was at the end than soon after the beginning, as a share of it."""
        warm = self.memory[int(len(self.memory) * WARM_UP) :]
        third = max(1, len(warm) // 3)
        return statistics.median(warm[-third:]) / statistics.median(warm[:third]) - 1

    def line(self) -> str:
        """Return it as a line."""
        memory = f"{self.memory[-1] / 1024:.1f} MiB" if self.memory else "?"
        return f"{self.rounds} rounds, {self.guests:,} clients, {self.bumps:,} bumps, {memory}"


class Soak:
    """Keeps a house full of guests, each of whom leaves some time."""

    def __init__(self, app: AppServer, redis: RedisServer, truth: Truth, chance: random.Random) -> None:
        self.report = Report()
        self._app = app
        self._redis = redis
        self._truth = truth
        self._chance = chance
        self._guests: list[Guest] = []

    async def run(self, seconds: float, say: Callable[[str], None]) -> Report:
        """Go on for so long, and return what was seen; raises AssertionError if a client lacks the store's tokens."""
        began = time.monotonic()
        # Each bump is a connection of its own, for whichever worker is free.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self._app.base_url, timeout=30, limits=limits) as client:
            try:
                while time.monotonic() < began + seconds:
                    await self._round(client)
                    say(self.report.line())
            finally:
                close_all(guest.client for guest in self._guests)
        return self.report

    async def _round(self, client: httpx.AsyncClient) -> None:
        ends = time.monotonic() + ROUND_SECONDS
        if self.report.rounds % 4 == 3:
            await asyncio.to_thread(ask, self._redis, "CLIENT", "KILL", "TYPE", "pubsub")
        while time.monotonic() < ends:
            await self._let_go_and_in()
            await self._bump(client)
        await self._let_go_and_in()
        for tenant in TENANTS:
            await self._truth.settled(tenant, lambda tenant=tenant: self._maps(tenant))  # type: ignore[misc]
        self.report.memory.append(sum(map(resident_kib, workers_of(self._app))))
        self.report.rounds += 1

    async def _bump(self, client: httpx.AsyncClient) -> None:
        chance = self._chance
        tenant, models = chance.choice(TENANTS), chance.sample(MODELS, chance.randint(1, 3))
        door = chance.choice(["bump", "bump-sync", "elsewhere"])
        if door == "elsewhere":
            await self._truth.revalidator.bump(tenant, *models)
        else:
            await bump(client, tenant, *models, door=door)
        self.report.bumps += 1

    async def _let_go_and_in(self) -> None:
        now = time.monotonic()
        gone = [guest for guest in self._guests if guest.client.closed or guest.leaves_at < now]
        close_all(guest.client for guest in gone)
        self._guests = [guest for guest in self._guests if guest not in gone]
        streams = sum(isinstance(guest.client, EventStream) for guest in self._guests)
        # As many as are missing come, some at a time; those who have gone may come again, with what they hold.
        known = [guest for guest in gone if isinstance(guest.client, EventStream)]
        for _ in range(min(STREAMS - streams, 20)):
            await self._let_stream_in(known.pop() if known and self._chance.random() < 0.5 else None)
        for _ in range(min(SOCKETS - (len(self._guests) - streams), 10)):
            await self._let_socket_in()

    async def _let_stream_in(self, again: Guest | None) -> None:
        is_stalled = self._chance.random() < STALLED
        if again is not None and isinstance(again.client, EventStream):
            tenant = again.tenant
            [stream] = await open_streams(
                self._app.port, [events_path(tenant)], known=again.client.id, little=is_stalled
            )
            if not stream.view.fulls:
                stream.view.tokens = {**again.tokens, **stream.tokens}
        else:
            tenant = self._chance.choice(TENANTS)
            [stream] = await open_streams(self._app.port, [events_path(tenant)], little=is_stalled)
        if is_stalled:
            stream.stop_reading()
        self._take_in(stream, tenant, is_stalled=is_stalled)

    async def _let_socket_in(self) -> None:
        tenant = self._chance.choice(TENANTS)
        answers = self._chance.random() > STALLED
        socket = await EventSocket.open(self._app.port, socket_path(tenant), answers=answers)
        for each in {tenant, self._chance.choice(TENANTS)}:
            socket.subscribe(each)
        self._take_in(socket, tenant)

    def _take_in(self, client: EventStream | EventSocket, tenant: str, *, is_stalled: bool = False) -> None:
        leaves_at = time.monotonic() + self._chance.uniform(0.5, LONGEST_STAY)
        self._guests.append(Guest(client, tenant, leaves_at, is_stalled))
        self.report.guests += 1

    def _maps(self, tenant: str) -> list[dict[str, str]]:
        """Return what those have who read and are connected: the server sends away who is old, or does not answer."""
        return [
            guest.tokens
            for guest in self._guests
            if guest.tenant == tenant and not guest.is_stalled and not is_over(guest.client)
        ]


def is_over(client: Client) -> bool:
    """Say whether the connection is closed, or its stream has ended."""
    return client.closed or (isinstance(client, EventStream) and client.ended)


def workers_of(app: AppServer) -> list[int]:
    """Return the processes that the server has started."""
    parent = app.process_id
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


async def soak(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Soak for so long, and return what was seen."""
    with RedisServer() as redis, desk(workers=2, store=redis.url, hub=HUB) as app:
        async with truth_of(redis) as truth:
            return await Soak(app, redis, truth, random.Random(seed)).run(seconds, say)


def main() -> int:
    """Soak, print what was seen, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.push.soak", description="Soak push in clients and changes.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of what is left to chance")
    arguments = parser.parse_args()
    say(f"Soaking for {arguments.minutes:g} minutes, seed {arguments.seed}.")
    report = asyncio.run(soak(arguments.minutes * 60, arguments.seed, say))
    say(f"Every client had the store's tokens in each of {report.rounds} rounds; memory grew by {report.growth:.1%}.")
    return 1 if report.growth > MOST_GROWTH else 0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main())
