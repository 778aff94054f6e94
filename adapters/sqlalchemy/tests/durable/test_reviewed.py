"""What a review of the durable level found, each as it was found."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, MODELS, TABLES, Base, Label, Team, sync_engine
from adapters.sqlalchemy.tests.durable.databases import Database, count_pending
from sqlalchemy import Engine, StaticPool, create_engine, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import InvalidTenantError, Keyspace, MemoryStore, Revalidator, SnapshotError
from cache_revalidate_sqlalchemy import DurableStore, attach, bind_snapshot


def in_core(engine: Engine) -> None:
    """Write on a connection of the engine's."""
    with engine.begin() as connection:
        connection.execute(insert(Label), [{"account_id": 1}])


def joined(engine: Engine) -> None:
    """Write in a session that is joined to a transaction which it does not end."""
    with engine.connect() as connection, connection.begin(), Session(connection) as session:
        session.add(Label(account_id=1))
        session.commit()


def token_in(engine: Engine, tenant: str = "1") -> str:
    """Return what the versions table holds for a tenant's labels."""
    with engine.connect() as connection:
        versions = TABLES.versions.c
        return str(
            connection.scalar(select(versions.token).where(versions.tenant == tenant, versions.model == "label"))
        )


@pytest.mark.parametrize("write", [in_core, joined])
async def test_a_commit_that_is_settled_late_is_no_doubtful_one(
    engine: Engine, write: Callable[[Engine], None]
) -> None:
    """Its copy stays, so that an older token which is still on its way can't take its place."""
    copy = MemoryStore()
    stores = [DurableStore(engine, TABLES, copy) for _ in range(2)]
    writer, reader = (Revalidator(MODELS, store) for store in stores)
    attachment = attach(writer, engine, ATTACHED)
    old = {"label": (await reader.tokens(1, "label"))["label"]}
    write(engine)
    deadline = time.monotonic() + 5
    while token_in(engine) == old["label"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # for the raise, which is all in memory
    await copy.raise_tokens(Keyspace(reader.keyspace.namespace, 60.0), {"1": old})
    assert (await reader.tokens(1, "label"))["label"] == token_in(engine) > old["label"]
    attachment.detach()


def test_a_forwarded_rows_id_is_not_given_again(tmp_path: Path) -> None:
    """A row that is deleted after it was forwarded is never another that came since."""
    with sync_engine(f"sqlite:///{tmp_path / 'home'}") as home, sync_engine(f"sqlite:///{tmp_path / 'other'}") as other:
        store = DurableStore(home, TABLES, others=[other])
        revalidator = Revalidator(MODELS, store)
        ledger = store._ledger(revalidator.keyspace)

        def commit(tenant: str) -> None:
            with other.begin() as connection:
                store.note(revalidator.keyspace, connection, {tenant: {"label"}})

        before = revalidator.sync.fold_many({"2": ["label"]})["2"]["label"]
        commit("1")
        found = store._others[0].run_sync(lambda connection: ledger.pending_of(connection, None))
        assert found is not None
        revalidator.sync.fold_many({"1": ["label"]})
        commit("2")
        store._others[0].run_sync(lambda connection: ledger.delete_pending(connection, found.ids))
        assert revalidator.sync.fold_many({"2": ["label"]})["2"]["label"] > before


async def test_every_tenant_is_bumped_under_autocommit(database_of: Callable[..., Database]) -> None:
    """What can't be noted with the rows is noted after them, every tenant of a model too."""
    with database_of("psycopg").sync_engine("psycopg") as engine:
        revalidator = Revalidator(MODELS, DurableStore(engine, TABLES))
        sessions = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
        attachment = attach(revalidator, sessions, ATTACHED, on_unknown_tenant="every_tenant")
        before = {tenant: (await revalidator.tokens(tenant, "label"))["label"] for tenant in (1, 2)}
        with sessions() as session:
            session.connection().execute(update(Label).values(title="x"))
            session.commit()
        after = {tenant: (await revalidator.tokens(tenant, "label"))["label"] for tenant in (1, 2)}
        assert all(after[tenant] > before[tenant] for tenant in (1, 2))
        attachment.detach()


def test_a_canonical_function_leaves_its_results_alone() -> None:
    """One that does not would bump another tenant than is read."""
    revalidator = Revalidator(MODELS, canonical=lambda value: f"account-{value}")
    with pytest.raises(InvalidTenantError, match="must leave its own results as they are"):
        revalidator.tenant(1)


PROGRAM = """
import os
import sys, threading, time
from adapters.sqlalchemy.tests.desk import ATTACHED, MODELS, TABLES, Label, sync_engine
from sqlalchemy.orm import sessionmaker
from cache_revalidate import Revalidator
from cache_revalidate_sqlalchemy import DurableStore, attach

opened = sync_engine("sqlite:///" + sys.argv[1])
engine = opened.__enter__()
sessions = sessionmaker(engine)
revalidator = Revalidator(MODELS, DurableStore(engine, TABLES))
attach(revalidator, sessions, ATTACHED)

def commit():
    started = time.monotonic()
    with sessions.begin() as session:
        session.add(Label(account_id=1))
    return time.monotonic() - started

{main}
"""
LATE = """
def late():
    threading.main_thread().join()
    commit()
    print("committed")

commit()
threading.Thread(target=late).start()
"""
FORKED = """
commit()
child = os.fork()
if child == 0:
    print("quick" if max(commit() for _ in range(3)) < 0.9 else "slow", flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(("main", "printed"), [(LATE, "committed"), (FORKED, "quick")], ids=["late", "forked"])
def test_threads_are_there_whenever_a_commit_is(engine: Engine, tmp_path: Path, main: str, printed: str) -> None:
    """A commit while the interpreter ends is folded all the same, and so is one of a process that was forked."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.format(main=main)))
    repository = str(Path(__file__).parents[4])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([repository, *filter(None, sys.path)])}
    arguments = [sys.executable, str(program), str(tmp_path / "forked.sqlite")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == (printed, 0), done.stderr


async def test_a_sweep_goes_on_without_another_database(engine: Engine, tmp_path: Path) -> None:
    """What is pending at home is folded while another database is away."""
    other = create_engine(f"sqlite:///{tmp_path / 'there' / 'is' / 'no' / 'folder'}")
    store = DurableStore(engine, TABLES, others=[other], sweep_every=0.05)
    revalidator = Revalidator(MODELS, store)
    async with store.running(revalidator.keyspace):
        with engine.begin() as connection:
            store.note(revalidator.keyspace, connection, {"1": {"label"}})
        deadline = time.monotonic() + 5
        while count_pending(engine):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    other.dispose()


async def test_no_sweep_ends_a_transaction_on_a_shared_connection() -> None:
    """With SQLite in memory all use one connection: what a handler rolls back must be gone."""
    engine = create_async_engine("sqlite+aiosqlite://")
    assert isinstance(engine.pool, StaticPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    store = DurableStore(engine, TABLES, sweep_every=0.02)
    async with store.running(Revalidator(MODELS, store).keyspace), AsyncSession(engine) as session:
        session.add(Team(account_id=1))
        await session.flush()
        await asyncio.sleep(0.2)
        await session.rollback()
        assert (await session.scalars(select(Team))).all() == []
    await engine.dispose()


def test_objects_from_before_are_not_bound(engine: Engine) -> None:
    """A session that keeps what it loaded earlier would return it, under the newest token."""
    revalidator = Revalidator(MODELS, DurableStore(engine, TABLES))
    with Session(engine, expire_on_commit=False) as session:
        label = Label(account_id=1)
        session.add(label)
        session.commit()
        with pytest.raises(SnapshotError, match="expunge_all"):
            bind_snapshot(revalidator, session, 1, "label")
        session.rollback()
        session.expunge_all()
        assert label not in session
        bind_snapshot(revalidator, session, 1, "label")


def test_a_note_is_where_its_own_database_is_looked_into(engine: Engine, tmp_path: Path) -> None:
    """What another database's transaction notes follows that one's map of schemas, not home's."""
    with sync_engine(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        home = engine.execution_options(schema_translate_map={None: "main"})
        store = DurableStore(home, TABLES, others=[other.execution_options(schema_translate_map={None: "own"})])
        with other.connect() as connection:
            connection.execute(text(f"ATTACH '{tmp_path / 'own.sqlite'}' AS own"))
            connection.execute(
                text("CREATE TABLE own.cache_revalidate_pending AS SELECT * FROM cache_revalidate_pending")
            )
            store.note(Revalidator(MODELS, store).keyspace, connection, {"1": {"label"}})
            assert connection.scalar(text("SELECT count(*) FROM own.cache_revalidate_pending")) == 1


def test_what_is_asked_for_goes_to_a_connection_that_commits(engine: Engine, tmp_path: Path) -> None:
    """Not to one in AUTOCOMMIT, on which it would be bumped before; where there is none, it is bumped afterwards."""
    with sync_engine(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        revalidator = Revalidator(MODELS, DurableStore(engine, TABLES))
        autocommit = other.execution_options(isolation_level="AUTOCOMMIT")
        sessions = sessionmaker(binds={Label: engine, Team: autocommit})
        attachment = attach(revalidator, sessions, {Label: "account_id", Team: "account_id"})
        for _ in range(10):
            before = revalidator.sync.fold_many({7: ["label"]})
            with sessions() as session:
                session.execute(select(Team))
                session.execute(select(Label))
                attachment.bump(session, 7, "label")
                session.commit()
            assert revalidator.sync.fold_many({7: ["label"]}) != before
        before = revalidator.sync.fold_many({7: ["label"]})
        with sessions() as session:
            attachment.bump(session, 7, "label")
            session.commit()
        assert revalidator.sync.fold_many({7: ["label"]}) != before
        attachment.detach()
