"""The store of the durable level: the truth is in the app's own database, and what Redis holds is a copy of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args
from weakref import WeakKeyDictionary

from sqlalchemy.exc import DBAPIError

from cache_revalidate import (
    EVERY_TENANT,
    ConfigurationError,
    CopyStore,
    FoldingStore,
    Keyspace,
    Listener,
    MirrorStats,
    StoreError,
)
from cache_revalidate_sqlalchemy.calling import Calling
from cache_revalidate_sqlalchemy.copies import Changes, Copies, Tokens
from cache_revalidate_sqlalchemy.engines import Engines
from cache_revalidate_sqlalchemy.forwarding import Forwarding
from cache_revalidate_sqlalchemy.ledger import Ledger
from cache_revalidate_sqlalchemy.sharing import Sharing
from cache_revalidate_sqlalchemy.sweeper import Sweeper
from cache_revalidate_sqlalchemy.tables import Tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

WhenCopyIsAway: TypeAlias = Literal["database", "no-store"]
"""Where tokens are read while the copies can't be: in the database, or nowhere, so that answers go uncached."""

_DAY: Final = 86_400.0
_SHARED_AT_MOST: Final = 100
"""How many pairs a fold may have that others wait for."""

_logger = logging.getLogger("cache_revalidate")


# Not a TypeAlias: asynchronous engines are imported for checkers alone.
if TYPE_CHECKING:
    Other: TypeAlias = Engine | AsyncEngine | tuple[AsyncEngine, Engine]


class DurableStore(FoldingStore):
    """Tokens in two tables of the app's database; with `copy`, reads are answered by Redis, or by memory.

    `engine` is the app's, asynchronous or not, on the primary; `tables` is what `add_tables` returned. Code without
    an event loop needs a synchronous engine: where `engine` is none, give it as `sync_engine`.

    `others` are the engines of the app's other databases, if its sessions are bound to several: each has the same
    tables, and what is noted there is brought here. An asynchronous one may be given with a synchronous one of the same
    database, as a pair. What is committed to a database that is neither is noted here after its commit, which a crash
    can lose.

    `copy` holds copies of the tokens: a `RedisStore`; or a `MemoryStore` where all that commits is this one process.
    Without it each read is one small SELECT, which works for any number of processes. `max_stale`, in seconds, is how
    long a copy lives, and so how long it can be wrong after a crash or an outage. `when_copy_is_away` says where
    tokens are read meanwhile.

    `timeout`, in seconds, is how long a read waits for the database. `sweep_every`, in seconds, is how often what
    nobody has folded is looked for while the app runs; 0 is never. The revalidator's `expiry` is the age at which a
    token is made new when it is looked up.

    Raises `ConfigurationError` if any of this could not work.
    """

    def __init__(
        self,
        engine: Engine | AsyncEngine,
        tables: Tables,
        copy: CopyStore | None = None,
        *,
        sync_engine: Engine | None = None,
        others: Sequence[Other] = (),
        max_stale: float = 60.0,
        when_copy_is_away: WhenCopyIsAway = "database",
        timeout: float = 5.0,
        sweep_every: float = 0.5,
    ) -> None:
        self.engines: Final = Engines(engine, sync_engine)
        if not isinstance(tables, Tables):
            raise ConfigurationError(
                f"tables is a {type(tables).__name__}: pass what add_tables returned, "
                "DurableStore(engine, add_tables(Base.metadata)) say."
            )
        if copy is not None and not isinstance(copy, CopyStore):
            raise ConfigurationError(
                f"copy is a {type(copy).__name__}, which can't hold copies: pass a RedisStore, or a MemoryStore where "
                "one process alone commits."
            )
        if when_copy_is_away not in get_args(WhenCopyIsAway):
            raise ConfigurationError(f'when_copy_is_away is {when_copy_is_away!r}: choose "database" or "no-store".')
        self.copy: Final = copy
        self._others = [Engines(*other) if isinstance(other, tuple) else Engines(other, None) for other in others]
        self._forwarding = Forwarding(self.engines, self._others)
        self._tables = tables
        self._calling = Calling(tables, self.engines.schemas)
        self._copies = Copies(copy, _checked_seconds("max_stale", max_stale, least=1.0))
        self._answers_from_database = when_copy_is_away == "database"
        self._timeout = _checked_seconds("timeout", timeout, least=0.001)
        self._sweep_every = _checked_seconds("sweep_every", sweep_every, least=0.0)
        self._other_is_away = False
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()

    @property
    def mirror_stats(self) -> MirrorStats | None:
        """What the copies' store has counted of those that it holds in this process."""
        return None if self.copy is None else self.copy.mirror_stats

    def note(self, keyspace: Keyspace, connection: Connection, changes: Changes) -> None:
        """Insert pending rows for pairs that the transaction on `connection` has touched, as its last statement."""
        try:
            place = next((each for each in (self.engines, *self._others) if each.serve(connection)), self.engines)
            Ledger(self._tables, keyspace.namespace, place.schemas).note(connection, changes)
        except DBAPIError as error:
            error.add_note(
                f"cache_revalidate notes there what each transaction touches. {self._when_tables_are_missing}"
            )
            raise

    def mark(self, keyspace: Keyspace, changes: Changes) -> None:
        """Have this process ask the database for pairs that it has committed, until they are folded."""
        self._copies.mark(keyspace, changes)

    def can_note(self, connection: Connection) -> bool:
        """Say whether a connection is to one of the store's databases."""
        return any(engines.serve(connection) for engines in (self.engines, *self._others))

    def seen(
        self, keyspace: Keyspace, connection: Connection, tenant: str, models: Collection[str]
    ) -> dict[str, str | None]:
        """Return the tokens that the transaction on `connection` sees; None for a model that has none or was changed.

        Nothing is made new and no copy raised: the connection may be one of a replica.
        """
        tokens = self._ledger(keyspace).seen(connection, tenant, sorted(models))
        return {model: tokens.get(model) for model in sorted(models)}

    def held(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the copies that are at hand in this process, if they are all there and nothing is to be folded."""
        return self._copies.held(keyspace, tenant, models)

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Tell of what the copies are raised to, once it is folded, by whomever; without copies nothing is told."""
        return self._copies.listen(keyspace, tenant, listener)

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Tell no more."""
        self._copies.leave(keyspace, tenant, listener)

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Return the copies if they are all there, else the tokens in the database, with all counted in."""
        return await self.read_past(keyspace, tenant, models, {})

    async def read_past(self, keyspace: Keyspace, tenant: str, models: Sequence[str], shown: Tokens) -> Tokens:
        """Do as `read` does, and believe no copy that is older than what was shown: the database has the truth."""
        copies = await self._copies.peek(keyspace, tenant, models, raises=not self._answers_from_database)
        if copies is not None and all(token >= shown.get(model, "") for model, token in copies.items()):
            return copies
        tokens = await self._in_time(self._shared().looks.ask((keyspace, tenant), {tenant: models}))
        return tokens[tenant]

    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Note the changes in a transaction of their own, and fold them."""
        ledger = self._ledger(keyspace)
        await self.engines.run(lambda connection: ledger.note_alone(connection, changes))
        return await self.fold(keyspace, changes)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Do as `bump` does, for callers without an event loop."""
        ledger = self._ledger(keyspace)
        self.engines.run_sync(lambda connection: ledger.note_alone(connection, changes))
        return self.fold_sync(keyspace, changes)

    async def fold(self, keyspace: Keyspace, changes: Changes, *, in_doubt: bool = False) -> dict[str, Tokens]:
        """Return the tokens of `changes`, with all counted in that was committed before the call; raise the copies."""
        self._copies.mark(keyspace, changes)
        named, every = _parted(changes)
        try:
            for model in every:
                await self._fold_every_tenant(keyspace, model)
            if not named or sum(map(len, named.values())) > _SHARED_AT_MOST:
                return await self._fold_now(keyspace, named)
            # What is committed at the same time is folded together.
            return await self._in_time(self._shared().folds.ask(keyspace, named))
        finally:
            # Also where the database did not answer, which may be why there is a doubt.
            if in_doubt:
                await self._copies.drop(keyspace, named)

    def fold_sync(self, keyspace: Keyspace, changes: Changes, *, in_doubt: bool = False) -> dict[str, Tokens]:
        """Do as `fold` does, for callers without an event loop."""
        self._copies.mark(keyspace, changes)
        named, every = _parted(changes)
        try:
            for model in every:
                self._fold_every_tenant_sync(keyspace, model)
            return self._fold_now_sync(keyspace, named)
        finally:
            if in_doubt:
                self._copies.drop_sync(keyspace, named)

    async def check(self) -> None:
        """Raise `StoreError` unless the tables are there and the copies can be read."""
        ledger = self._ledger(Keyspace("check", 1.0))
        try:
            await self.engines.run(lambda connection: ledger.page_of(connection, "check"))
            for engines in (self.engines, *self._others):
                await engines.run(ledger.newest_pending)
        except StoreError as error:
            raise StoreError(f"{error} {self._when_tables_are_missing}") from error
        await self._copies.check()

    async def aclose(self) -> None:
        """Let go of the copies' connections; the engines are the app's."""
        await self._copies.aclose()

    @asynccontextmanager
    async def running(self, keyspace: Keyspace) -> AsyncIterator[None]:
        """Sweep while the app runs: fold what nobody has, and so have Redis hear of writes from outside the app."""
        async with super().running(keyspace), self._copies.running(keyspace):
            # On a connection that is the app's too, a sweep would end the app's transaction. Nobody else writes there.
            if not self._sweep_every or self.engines.is_one_connection:
                yield
                return
            async with Sweeper(self._sweep_every, lambda newest: self.sweep(keyspace, newest)).sweeping():
                yield

    async def sweep(self, keyspace: Keyspace, newest: int | None) -> int | None:
        """Fold what is pending up to the row `newest`, and what this process could not raise; return the newest row."""
        await self._raise_what_was_missed(keyspace)
        ledger = self._ledger(keyspace)
        missed = await self._forwarding.forward(ledger)
        if missed is not None and not self._other_is_away:
            _logger.error("What another database has noted can't be looked for, until this is over: %s", missed)
        self._other_is_away = missed is not None
        while newest is not None and (
            left := await self.engines.run(lambda connection: ledger.pending_until(connection, newest))
        ):
            await self.fold(keyspace, left)
        return await self.engines.run(ledger.newest_pending)

    async def _raise_what_was_missed(self, keyspace: Keyspace) -> None:
        """Make good, as soon as the copies can be reached again, what was committed while they were away.

        A Redis that hung may also carry out, when it goes on, an older raise that was sent to it before.
        """
        named, every = _parted(await self._copies.missed(keyspace))
        for model in every:
            await self._fold_every_tenant(keyspace, model)
        await self._fold_now(keyspace, named)

    def _shared(self) -> _Shared:
        loop = asyncio.get_running_loop()
        shared = self._loops.get(loop)
        if shared is None:
            shared = self._loops[loop] = _Shared(Sharing(self._fold_now), Sharing(self._look_up))
        return shared

    async def _in_time(self, answer: Awaitable[dict[str, Tokens]]) -> dict[str, Tokens]:
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError as error:
            raise StoreError(
                f"The database of the version tokens did not answer within {self._timeout:g} s: are all connections of "
                "its pool in use? Then give DurableStore an engine of its own."
            ) from error

    async def _look_up(self, asked: tuple[Keyspace, str], pairs: Changes) -> dict[str, Tokens]:
        keyspace, tenant = asked
        models = sorted(pairs[tenant])
        look, ledger = self._copies.look(keyspace, {tenant: models}), self._ledger(keyspace)
        if missed := await self._forwarding.forward(ledger, {tenant: models}):
            raise missed
        tokens = await self.engines.run(lambda connection: ledger.look_up(connection, tenant, models, keyspace.expiry))
        if self._copies.may_be_asked:
            await self._copies.raise_to(keyspace, {tenant: tokens}, look)
        # Not the larger that a copy may hold: that may be of a fold which the database has lost in a crash.
        return {tenant: tokens}

    async def _fold_now(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        if not changes:
            return {}
        look, ledger = self._copies.look(keyspace, changes), self._ledger(keyspace)
        missed = await self._forwarding.forward(ledger, changes)
        tokens = await self.engines.run(lambda connection: ledger.fold(connection, changes))
        await self._copies.raise_to(keyspace, tokens, look if missed is None else look.incomplete())
        if missed is not None:
            raise missed
        return tokens

    def _fold_now_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        if not changes:
            return {}
        look, ledger = self._copies.look(keyspace, changes), self._ledger(keyspace)
        missed = self._forwarding.forward_sync(ledger, changes)
        tokens = self.engines.run_sync(lambda connection: ledger.fold(connection, changes))
        self._copies.raise_to_sync(keyspace, tokens, look if missed is None else look.incomplete())
        if missed is not None:
            raise missed
        return tokens

    async def _fold_every_tenant(self, keyspace: Keyspace, model: str) -> None:
        marks, ledger = self._copies.look(keyspace, {EVERY_TENANT: [model]}), self._ledger(keyspace)
        missed = await self._forwarding.forward(ledger, {EVERY_TENANT: [model]})
        await self.engines.run(lambda connection: ledger.fold_every_tenant(connection, model))
        last, are_raised = EVERY_TENANT, True
        while True:
            look, after = self._copies.look(keyspace, {}), last
            page = await self.engines.run(lambda connection: ledger.page_of(connection, model, after))  # noqa: B023
            if not page:
                break
            are_raised &= await self._copies.raise_to(keyspace, page, look)
            last = max(page)
        if missed is not None:
            raise missed
        if are_raised:
            marks.settle()

    def _fold_every_tenant_sync(self, keyspace: Keyspace, model: str) -> None:
        marks, ledger = self._copies.look(keyspace, {EVERY_TENANT: [model]}), self._ledger(keyspace)
        missed = self._forwarding.forward_sync(ledger, {EVERY_TENANT: [model]})
        self.engines.run_sync(lambda connection: ledger.fold_every_tenant(connection, model))
        last, are_raised = EVERY_TENANT, True
        while True:
            look, after = self._copies.look(keyspace, {}), last
            page = self.engines.run_sync(lambda connection: ledger.page_of(connection, model, after))  # noqa: B023
            if not page:
                break
            are_raised &= self._copies.raise_to_sync(keyspace, page, look)
            last = max(page)
        if missed is not None:
            raise missed
        if are_raised:
            marks.settle()

    @property
    def _when_tables_are_missing(self) -> str:
        return (
            f"If the tables {self._tables.versions} and {self._tables.pending} are missing: create them as you do the "
            "app's own, by metadata.create_all() or a migration."
        )

    def _ledger(self, keyspace: Keyspace) -> Ledger:
        return Ledger(self._tables, keyspace.namespace, self.engines.schemas, self._calling)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is shared on one event loop: all folds of a keyspace, and the look-ups of each tenant."""

    folds: Sharing[Keyspace]
    looks: Sharing[tuple[Keyspace, str]]


def _parted(changes: Changes) -> tuple[Changes, list[str]]:
    """Return the changes whose tenants are named, and the models of which every tenant is meant."""
    named = {tenant: models for tenant, models in changes.items() if tenant != EVERY_TENANT}
    return named, sorted(changes.get(EVERY_TENANT, ()))


def _checked_seconds(name: str, seconds: float, *, least: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not least <= seconds <= _DAY:
        raise ConfigurationError(f"{name} {seconds!r} is not a number of seconds from {least:g} to a day.")
    return seconds
