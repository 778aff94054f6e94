"""The app with the library at its durable level."""

import os
from collections.abc import Mapping

from examples.desk.models import Label
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from cache_revalidate import Keyspace, RedisStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, attach
from tests.hunt.plan import REDIS_TIMEOUT, SWEEP_EVERY
from tests.hunt.schema import TABLES
from tests.hunt.worker.desk import make_app
from tests.hunt.worker.orders import mortal_sessions, obey


class MortalRedisStore(RedisStore):
    """A Redis store whose process can be told to die or stop when it is about to raise a token."""

    async def raise_tokens(self, keyspace: Keyspace, tokens: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """Raise the copies, unless there are orders."""
        obey("before-push")
        return await super().raise_tokens(keyspace, tokens)


engine = create_async_engine(os.environ["DATABASE_URL"])
event.listen(engine.sync_engine, "checkin", lambda *_: obey("after-look"))
sessions = mortal_sessions(engine)
revalidator = Revalidator(
    models=["label"],
    store=DurableStore(
        engine,
        TABLES,
        MortalRedisStore.from_url(os.environ["REDIS_URL"], timeout=REDIS_TIMEOUT),
        max_stale=float(os.environ["MAX_STALE"]),
        sweep_every=SWEEP_EVERY,
    ),
)
attach(revalidator, sessions, {Label: "account_id"})
app = make_app(engine, sessions, revalidator)
