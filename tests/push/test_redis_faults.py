"""Redis killed, failed over, hung: afterwards every client has the store's tokens, and meanwhile they are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from tests.push.desks import Crowd, Truth, assert_no_traceback, desk, truth_of
from tests.push.waiting import until
from tests.support.redis_replication import wait_until
from tests.support.redis_sentinels import sentinel_group
from tests.support.servers import AppServer, RedisServer

HUB = {"heartbeat": 0.3}
SOON = 15.0


@pytest.fixture
async def app(redis_server_own: RedisServer) -> AsyncIterator[AppServer]:
    """Give the app, with two workers, on a Redis that can be killed."""
    with desk(workers=2, store=redis_server_own.url, hub=HUB) as app:
        yield app


def crowd_of(app: AppServer) -> AbstractAsyncContextManager[Crowd]:
    """Return clients of both workers."""
    return Crowd.of(app.port, ["1"], streams=20, sockets=20, workers=2)


async def flows(truth: Truth, crowd: Crowd) -> None:
    """See a bump reach all."""
    await truth.revalidator.bump("1", "label")
    await truth.settled("1", lambda: crowd.maps("1"))


async def test_killed_and_restarted(app: AppServer, redis_server_own: RedisServer) -> None:
    """When a killed Redis is back, empty, every connection has its new tokens, and goes on."""
    async with truth_of(redis_server_own) as truth, crowd_of(app) as crowd:
        await flows(truth, crowd)
        await until(lambda: crowd.live() == {True}, "all have heard that the store answers")
        redis_server_own.kill()
        await until(lambda: crowd.live() == {False}, "all have heard that it does not", SOON)
        await asyncio.to_thread(redis_server_own.start)
        await truth.settled("1", lambda: crowd.maps("1"), within=SOON)
        await until(lambda: crowd.live() == {True}, "all have heard that it does again", SOON)
        await flows(truth, crowd)
        assert not crowd.has_lost()
    assert_no_traceback(app)


async def test_hung(app: AppServer, redis_server_own: RedisServer) -> None:
    """When Redis hangs and goes on, every connection has what was bumped as it did, and what is bumped later."""
    async with truth_of(redis_server_own) as truth, crowd_of(app) as crowd:
        await flows(truth, crowd)
        redis_server_own.pause()
        await until(lambda: crowd.live() == {False}, "all have heard that it does not answer", SOON)
        redis_server_own.resume()
        await truth.settled("1", lambda: crowd.maps("1"), within=SOON)
        await until(lambda: crowd.live() == {True}, "all have heard that it does again", SOON)
        await flows(truth, crowd)
        assert not crowd.has_lost()
    assert_no_traceback(app)


async def test_failed_over() -> None:
    """When the primary dies, every connection has the tokens of the new one, and hears what is bumped there."""
    with sentinel_group() as group, desk(workers=2, store=group.url, hub=HUB) as app:
        async with truth_of(group.url) as truth, crowd_of(app) as crowd:
            await flows(truth, crowd)
            old, new = group.primary, group.replica
            old.kill()
            await asyncio.to_thread(wait_until, lambda: group.primary is new, "the sentinels name the new primary")
            await truth.settled("1", lambda: crowd.maps("1"), within=SOON)
            await truth.revalidator.bump("1", "label", "team")
            await truth.settled("1", lambda: crowd.maps("1"), within=SOON)
            await until(lambda: crowd.live() == {True}, "all have heard that the store answers", SOON)
            assert not crowd.has_lost()
        assert_no_traceback(app)
