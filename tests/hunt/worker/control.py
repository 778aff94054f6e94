"""The same app with Chatwoot's scheme: what changed is told in whole seconds, after the commit, and once.

A key is set when the unit of work has written a label, in an `after_commit` hook. Statements past the unit of work
are not seen, and a missing key reads as a constant. How the tokens travel is the library's, as for the library.
"""

import os
import time
from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio
from examples.desk.models import Label
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from cache_revalidate import Keyspace, Revalidator, Store, StoreError
from tests.hunt.plan import REDIS_TIMEOUT
from tests.hunt.worker.desk import make_app
from tests.hunt.worker.orders import mortal_sessions, obey

_MISSING: Final = "0000000000"
_EXPIRY: Final = 72 * 3600


class ChatwootStore(Store):
    """Chatwoot's keys in Redis."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        )

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> dict[str, str]:
        """Return the keys' values, and the constant where there is none."""
        try:
            values = await self._client.mget([_key(keyspace, tenant, model) for model in models])
        except (redis.RedisError, OSError) as error:
            raise StoreError(str(error)) from error
        return {model: str(value or _MISSING) for model, value in zip(models, values, strict=True)}

    async def bump(self, keyspace: Keyspace, changes: Any) -> dict[str, dict[str, str]]:
        """Set the keys to the present second."""
        tokens = {tenant: dict.fromkeys(models, str(int(time.time()))) for tenant, models in changes.items()}
        try:
            for tenant, of_tenant in tokens.items():
                for model, token in of_tenant.items():
                    await self._client.set(_key(keyspace, tenant, model), token, ex=_EXPIRY)
        except (redis.RedisError, OSError) as error:
            raise StoreError(str(error)) from error
        return tokens

    def bump_sync(self, keyspace: Keyspace, changes: Any) -> dict[str, dict[str, str]]:
        """Not for this app, which is asynchronous."""
        raise NotImplementedError


def _key(keyspace: Keyspace, tenant: str, model: str) -> str:
    return f"{keyspace.namespace}:idb-cache-key-account-{tenant}-{model}"


def bump_after_commit(sessions: async_sessionmaker[AsyncSession], keyspace: Keyspace, store: ChatwootStore) -> None:
    """Set the keys of the accounts whose labels the unit of work has written, after each commit."""
    kind: type[Session] = sessions.kw["sync_session_class"]

    @event.listens_for(kind, "after_flush")
    def _flushed(session: Session, _: Any) -> None:
        written = (*session.new, *session.dirty, *session.deleted)
        touched = {str(label.account_id) for label in written if isinstance(label, Label)}
        session.info.setdefault("touched", set()).update(touched)

    @event.listens_for(kind, "after_commit")
    def _committed(session: Session) -> None:
        obey("before-push")
        touched = session.info.pop("touched", set())
        try:
            await_only(store.bump(keyspace, {tenant: ["label"] for tenant in touched}))
        except StoreError as error:
            print(f"A key was not set: {error}", flush=True)  # noqa: T201


engine = create_async_engine(os.environ["DATABASE_URL"])
sessions = mortal_sessions(engine)
store = ChatwootStore(os.environ["REDIS_URL"])
revalidator = Revalidator(models=["label"], store=store)
bump_after_commit(sessions, revalidator.keyspace, store)
app = make_app(engine, sessions, revalidator)
