"""A process of the app, which sweeps until it is told to end: `python sweeping.py DATABASE REDIS HOW_MANY`."""

import asyncio
import sys
from contextlib import AsyncExitStack

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from cache_revalidate import RedisStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, add_tables


async def sweep(database: str, redis: str, how_many: int) -> None:
    """Run some revalidators, as many processes would, until the standard input is closed."""
    async with AsyncExitStack() as stack:
        for _ in range(how_many):
            engine = create_async_engine(database, pool_size=1)
            stack.push_async_callback(engine.dispose)
            store = DurableStore(engine, add_tables(MetaData()), RedisStore.from_url(redis))
            await stack.enter_async_context(Revalidator(["label", "inbox"], store).lifespan())
        sys.stdout.write("sweeping\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(sweep(sys.argv[1], sys.argv[2], int(sys.argv[3])))
