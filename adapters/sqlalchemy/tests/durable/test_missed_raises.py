"""Raises that Redis missed are made good as soon as it can be reached again, not only when its copies have ended."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.sqlalchemy.tests.desk import ATTACHED, MODELS, TABLES, Label, async_engine
from sqlalchemy.ext.asyncio import async_sessionmaker

from cache_revalidate import Keyspace, RedisStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, attach

if TYPE_CHECKING:
    from tests.support.servers import RedisServer

SECONDS = 15.0


async def test_other_processes_hear_of_a_commit_once_redis_is_back(
    tmp_path: Path, redis_server_own: RedisServer
) -> None:
    """A commit while Redis hung: within seconds of its return no other process is answered from the old copy."""
    engine = await async_engine(f"sqlite+aiosqlite:///{tmp_path / 'desk.sqlite'}")
    stores = [DurableStore(engine, TABLES, RedisStore.from_url(redis_server_own.url, timeout=0.3)) for _ in range(2)]
    writer, reader = (Revalidator(MODELS, store) for store in stores)
    sessions = async_sessionmaker(engine)
    attachment = attach(writer, sessions, ATTACHED)
    async with writer.lifespan():
        old = await reader.tokens(1, "label")
        redis_server_own.pause()
        async with sessions.begin() as session:
            session.add(Label(account_id=1))
        new = await writer.tokens(1, "label")
        assert new["label"] > old["label"]
        redis_server_own.kill()  # and with it whatever was sent to it while it hung
        redis_server_own.start()
        await stores[1].copy.raise_tokens(Keyspace(reader.keyspace.namespace, 60.0), {"1": old})  # type: ignore[union-attr]
        started = time.monotonic()
        while await reader.tokens(1, "label") != new:
            assert time.monotonic() < started + SECONDS, "nobody told Redis"
            await asyncio.sleep(0.05)
    attachment.detach()
    for store in stores:
        await store.aclose()
    await engine.dispose()
