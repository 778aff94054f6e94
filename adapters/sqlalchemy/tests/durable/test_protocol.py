"""Any sequence of commits, reads, faults and crashes: nothing is stale for longer than promised, nothing is lost.

And the self-test: with any one element of the protocol broken, a sequence is found that shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import TABLES
from adapters.sqlalchemy.tests.durable.model import MAX_STALE, TENANTS, World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cache_revalidate import Keyspace, MemoryStore, new_token
from cache_revalidate_sqlalchemy import DurableStore, ledger
from cache_revalidate_sqlalchemy.copies import Copies
from cache_revalidate_sqlalchemy.dirty import Dirty
from cache_revalidate_sqlalchemy.ledger import Ledger

KEYSPACE = Keyspace("cache_revalidate", MAX_STALE)
PROCESS = st.integers(0, 1)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "edit", "move", "delete", "bulk", "every", "released savepoint", "rolled back savepoint"]
        ),
        st.integers(0, 5),
        st.integers(1, 2),
    ),
    min_size=1,
    max_size=3,
)


class Protocol(RuleBasedStateMachine):
    """Two processes, and what may happen to them."""

    make_store: type[DurableStore] = DurableStore

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.make_store)

    @rule(process=PROCESS, actions=ACTIONS, end=st.sampled_from(["commit", "commit", "commit", "roll back", "close"]))
    def transact(self, process: int, actions: list[tuple[str, int, int]], end: str) -> None:
        """Run a transaction in a process."""
        self.world.transact(self.world.processes[process], actions, end)

    @rule(process=PROCESS, tenant=st.sampled_from(TENANTS))
    def read(self, process: int, tenant: str) -> None:
        """Have a client read by a process."""
        self.world.read(self.world.processes[process], tenant)

    @rule(process=PROCESS, tenant=st.sampled_from(TENANTS), actions=ACTIONS)
    def write_and_read(self, process: int, tenant: str, actions: list[tuple[str, int, int]]) -> None:
        """Have a client read, another write, and both read again by whatever process."""
        self.world.read(self.world.processes[0], tenant)
        self.world.transact(self.world.processes[process], actions, "commit")
        self.world.read(self.world.processes[process], tenant)
        self.world.read(self.world.processes[1 - process], tenant)

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass: copies expire."""
        self.world.clock += seconds

    @rule(mode=st.sampled_from(["ok", "ok", "away", "lost", "late"]))
    def change_copies(self, mode: str) -> None:
        """Have the copies go away, lose what they are told, or take it late; or end that."""
        self.world.copies.mode = mode

    @rule(number=st.integers(0, 5), twice=st.booleans())
    def deliver(self, number: int, twice: bool) -> None:
        """Have a late raise arrive, in any order, maybe twice."""
        copies = self.world.copies
        if copies.late:
            tokens = copies.late[number % len(copies.late)]
            if not twice:
                copies.late.remove(tokens)
            copies.inner.raise_tokens_sync(KEYSPACE, tokens)
            self.world.fault(deceives=True)

    @rule()
    def empty_copies(self) -> None:
        """Have the copies lose all they hold, as a Redis that was restarted."""
        self.world.copies.inner._minted.clear()

    @rule()
    def save_copies(self) -> None:
        """Dump the copies."""
        self.world.save_copies()

    @rule()
    def restore_copies(self) -> None:
        """Have the copies fail over to an older dump."""
        self.world.restore_copies()

    @rule(process=PROCESS, statements=st.integers(0, 8), actions=ACTIONS, dies=st.booleans())
    def crash(self, process: int, statements: int, actions: list[tuple[str, int, int]], dies: bool) -> None:
        """Have a commit's fold break off before one of its statements or its COMMIT, and maybe the process end."""
        world, broken = self.world, self.world.processes[process]

        def crash() -> None:
            raise ConnectionError("the process is killed")

        for tenant in TENANTS:
            world.read(broken, tenant)
        broken.before = (statements, crash)
        world.transact(broken, actions, "commit")
        world.fault()
        broken.before = None
        world.check_truth()
        if dies:
            world.restart(process)
        for tenant in TENANTS:
            world.read(world.processes[process], tenant)

    @rule(process=PROCESS, statements=st.integers(0, 8), actions=ACTIONS, others=ACTIONS)
    def interleave(
        self,
        process: int,
        statements: int,
        actions: list[tuple[str, int, int]],
        others: list[tuple[str, int, int]],
    ) -> None:
        """Have the other process commit and fold before one of the statements of a commit's fold."""
        world, slow, other = self.world, self.world.processes[process], self.world.processes[1 - process]
        slow.before = (statements, lambda: world.transact(other, others, "commit"))
        # What one of them did not fold, as SQLite was locked, is a fault to the other.
        world.fault()
        world.transact(slow, actions, "commit")
        slow.before = None

    @rule()
    def heal(self) -> None:
        """End all faults; when copies have expired, everything is right."""
        self.world.heal()

    @invariant()
    def truth_grows(self) -> None:
        """No token goes backward, and no copy is ahead of the database."""
        self.world.check_truth()

    def teardown(self) -> None:
        """Whatever happened, it heals."""
        try:
            self.world.heal()
            self.world.check_truth()
        finally:
            self.world.end()


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]

TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=QUIET)


def _skip_the_note(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "note", lambda *_: None)


def _fold_without_deleting(patch: pytest.MonkeyPatch) -> None:
    def take_pending(self: Ledger, connection: Any, pairs: Any, *, unless: Any = ()) -> set[tuple[str, str]]:
        pending = TABLES.pending.c
        rows = connection.execute(TABLES.pending.select().where(pending.model.in_([model for _, model in pairs])))
        return {(row.tenant, row.model) for row in rows} & set(pairs)

    patch.setattr(Ledger, "_take_pending", take_pending)


def _delete_without_a_new_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "_write", lambda *_: None)


def _write_a_constant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger, "new_token", lambda *_: "1" * 20)


def _look_at_versions_alone(patch: pytest.MonkeyPatch) -> None:
    def look_up(self: Ledger, connection: Any, tenant: str, models: Any, _: float) -> dict[str, str]:
        versions = TABLES.versions.c
        with connection.begin():
            found = connection.execute(
                TABLES.versions.select().where(versions.tenant == tenant, versions.model.in_(models))
            ).all()
        tokens = {row.model: row.token for row in found}
        return tokens if len(tokens) == len(models) else self.fold(connection, {tenant: models})[tenant]

    patch.setattr(Ledger, "look_up", look_up)


def _raise_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    write = Ledger._write

    def write_and_raise(self: Ledger, connection: Any, tokens: dict[tuple[str, str], str]) -> None:
        write(self, connection, tokens)
        for (tenant, model), token in tokens.items():
            connection.engine.copies.raise_tokens_sync(KEYSPACE, {tenant: {model: token}})

    patch.setattr(Ledger, "_write", write_and_raise)
    started = World.engine

    def engine(self: World) -> Any:
        engine = started(self)
        engine.copies = self.copies.inner  # type: ignore[attr-defined]
        return engine

    patch.setattr(World, "engine", engine)


def _refresh_the_expiry(patch: pytest.MonkeyPatch) -> None:
    peek, held = MemoryStore.peek, MemoryStore.held

    def renew(self: MemoryStore, keyspace: Any, tenant: str, tokens: dict[str, str]) -> None:
        for model, token in tokens.items():
            self._minted[keyspace.namespace][tenant, model] = (token, self._monotonic())

    async def peek_and_renew(self: MemoryStore, keyspace: Any, tenant: str, models: Any) -> dict[str, str]:
        found = await peek(self, keyspace, tenant, models)
        renew(self, keyspace, tenant, found)
        return found

    def held_and_renew(self: MemoryStore, keyspace: Any, tenant: str, models: Any) -> dict[str, str] | None:
        found = held(self, keyspace, tenant, models)
        renew(self, keyspace, tenant, found or {})
        return found

    patch.setattr(MemoryStore, "peek", peek_and_renew)
    patch.setattr(MemoryStore, "held", held_and_renew)


def _never_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dirty, "mark", lambda *_: None)


def _raise_nothing(patch: pytest.MonkeyPatch) -> None:
    def settle_only(_: object, __: object, ___: object, look: Any) -> bool:
        look.settle()
        return True

    patch.setattr(Copies, "raise_to_sync", settle_only)


def _make_the_token_before_the_lock(patch: pytest.MonkeyPatch) -> None:
    lock, write = Ledger._lock, Ledger._write
    made: dict[int, str] = {}

    def make_and_lock(self: Ledger, connection: Any, pairs: Any) -> dict[tuple[str, str], str]:
        made[id(connection)] = new_token()
        return lock(self, connection, pairs)

    def write_made(self: Ledger, connection: Any, tokens: dict[tuple[str, str], str]) -> None:
        write(self, connection, dict.fromkeys(tokens, made[id(connection)]))

    patch.setattr(Ledger, "_lock", make_and_lock)
    patch.setattr(Ledger, "_write", write_made)


def _leave_out_every_tenant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "fold_every_tenant", lambda *_: None)
    patch.setattr(ledger, "EVERY_TENANT", "nobody")


@pytest.mark.parametrize(
    ("mutation", "found"),
    [
        (_skip_the_note, "labels"),
        (_fold_without_deleting, "tokens change|stay pending"),
        (_delete_without_a_new_token, "labels"),
        (_write_a_constant, "labels"),
        (_look_at_versions_alone, "labels"),
        (_raise_before_the_commit, "ahead of the truth"),
        (_refresh_the_expiry, "labels"),
        (_never_mark, "labels"),
        (_raise_nothing, "labels"),
        (_make_the_token_before_the_lock, "went backward|ahead of the truth"),
        (_leave_out_every_tenant, "labels|stay pending"),
    ],
)
def test_a_broken_protocol_is_found_out(
    mutation: Callable[[pytest.MonkeyPatch], None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one element of the protocol broken the machine fails."""
    mutation(monkeypatch)
    few = settings(
        max_examples=60,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=QUIET,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
    )
    with pytest.raises(AssertionError, match=found):
        run_state_machine_as_test(Protocol, settings=few)
