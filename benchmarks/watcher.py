"""A second process, which says when it has seen a new token, or a raw message: the other end of `visibility`.

Started by `visibility`: it prints a line for each token or message, with the time by the machine's monotonic clock.
Both ways keep the event loop spinning, so that neither waits to be woken where the other does not.
"""

import asyncio
import sys
import time

import redis.asyncio

from cache_revalidate import RedisStore, Revalidator

CHANNEL = "bench-raw"
MODEL = "label"
TENANT = 1


async def watch_tokens(url: str) -> None:
    """Print each new token of the tenant as soon as a read shows it."""
    revalidator = Revalidator([MODEL], RedisStore.from_url(url))
    async with revalidator.lifespan():
        seen = ""
        while True:
            token = (await revalidator.tokens(TENANT))[MODEL]
            if token != seen:
                _say(token)
                seen = token
            await asyncio.sleep(0)


async def watch_messages(url: str) -> None:
    """Print each message of the channel as soon as it is there."""
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as channel:
        await channel.subscribe(CHANNEL)
        spinning = asyncio.create_task(_spin())
        async for message in channel.listen():
            _say(message["data"].decode() if message["type"] == "message" else "")
        await spinning


async def _spin() -> None:
    while True:  # noqa: ASYNC110 - not to wait is the point
        await asyncio.sleep(0)


def _say(what: str) -> None:
    print(f"{time.monotonic_ns()} {what}", flush=True)


if __name__ == "__main__":
    _, way, redis_url = sys.argv
    asyncio.run({"tokens": watch_tokens, "messages": watch_messages}[way](redis_url))
