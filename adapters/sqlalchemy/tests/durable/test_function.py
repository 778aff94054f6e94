"""The fold as a function in PostgreSQL: what it answers, where it is, and what is done where it can't be called."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import MODELS, TABLES
from adapters.sqlalchemy.tests.durable.databases import Database, by_steps, count_pending, empty, revalidator_on
from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    create_engine,
    create_mock_engine,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateSchema

from cache_revalidate import MemoryStore, Revalidator, is_token, token_clock
from cache_revalidate_sqlalchemy import DurableStore, Tables, add_tables, calling
from cache_revalidate_sqlalchemy.texts import FOLD

GetDatabase = Callable[..., Database]
NAMESPACE = "cache_revalidate"


@pytest.fixture
def engine(shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine on PostgreSQL."""
    with shared_database("psycopg").sync_engine("psycopg") as engine:
        empty(engine)
        yield engine


@pytest.fixture
def own_database(database_of: GetDatabase) -> Database:
    """Give a database of the test's own."""
    return database_of("psycopg")


def note(engine: Engine, *pairs: tuple[str, str], tables: Tables = TABLES) -> None:
    """Note (tenant, model) pairs, as a process does that dies after its commit."""
    with engine.begin() as connection:
        rows = [{"namespace": NAMESPACE, "tenant": tenant, "model": model} for tenant, model in pairs]
        connection.execute(insert(tables.pending), rows)


def fold(engine: Engine, *pairs: tuple[str, str], tables: Tables = TABLES) -> dict[tuple[str, str], str] | None:
    """Have the function fold pairs; None if it did not."""
    with engine.connect() as connection:
        return calling.Calling(tables, None).fold(connection, NAMESPACE, pairs, 3600)


def functions(engine: Engine) -> set[str]:
    """Return the schemas in which the function is."""
    with engine.connect() as connection:
        return {*connection.scalars(text(f"SELECT pronamespace::regnamespace FROM pg_proc WHERE proname = '{FOLD}'"))}


def token(revalidator: Revalidator) -> str:
    """Return the token of one tenant's labels."""
    return revalidator.sync.fold_many({1: ["label"]})["1"]["label"]


LABELS = [("1", "label"), ("2", "label")]


def test_what_it_answers(engine: Engine) -> None:
    """What is missing is minted, what is pending gets its next token, and everything else stays as it is."""
    first = fold(engine, *LABELS)
    assert first is not None
    assert all(map(is_token, first.values()))
    assert fold(engine, *LABELS) == first
    note(engine, ("1", "label"), ("1", "label"), ("1", "team"))
    second = fold(engine, *LABELS)
    assert second is not None
    assert second["1", "label"] > first["1", "label"]
    assert second["2", "label"] == first["2", "label"]
    assert fold(engine, *LABELS) == second
    assert count_pending(engine) == 1


def test_its_tokens_follow_the_largest(engine: Engine) -> None:
    """A token is of the microsecond after the last one if that is of the future, else of now, with random digits."""
    fold(engine, *LABELS)
    future = "8" + "0" * 15
    write(engine, f"{future}1234")
    note(engine, *LABELS)
    tokens = fold(engine, *LABELS)
    assert tokens is not None
    assert {token[:16] for token in tokens.values()} == {"8" + "0" * 14 + "1"}
    write(engine, "0" * 20)
    seen = set()
    for _ in range(50):
        before = time.time_ns() // 1000
        note(engine, *LABELS)
        tokens = fold(engine, *LABELS)
        assert tokens is not None
        assert all(before <= token_clock(token) <= time.time_ns() // 1000 for token in tokens.values())
        seen |= {token[16:] for token in tokens.values()}
    assert len(seen) > 90


def write(engine: Engine, token: str) -> None:
    """Put one token into all version rows."""
    with engine.begin() as connection:
        connection.execute(update(TABLES.versions).values(token=token))


@pytest.mark.parametrize("written", ["", "x" * 20, "9" * 20, "1" * 19, "1" * 19 + "\n"])
def test_what_is_no_token_is_made_new(engine: Engine, written: str) -> None:
    """What is in a version row and no token is never answered."""
    fold(engine, *LABELS)
    write(engine, written)
    tokens = fold(engine, *LABELS)
    assert tokens is not None
    assert all(map(is_token, tokens.values()))
    assert fold(engine, *LABELS) == tokens


def test_what_is_too_old_is_made_new(engine: Engine) -> None:
    """A token is answered up to the age that is asked for, and made new once when it is older."""
    fold(engine, *LABELS)
    for age, is_answered in ((3590, True), (3610, False)):
        old = f"{time.time_ns() // 1000 - age * 10**6:016}0000"
        write(engine, old)
        tokens = fold(engine, *LABELS)
        assert tokens is not None
        assert all((token == old) == is_answered for token in tokens.values())
        assert fold(engine, *LABELS) == tokens


def test_another_namespace_is_left_alone(engine: Engine) -> None:
    """What another app has noted about a tenant of the same name stays noted, and has tokens of its own."""
    revalidators = [revalidator_on(DurableStore(engine, TABLES), namespace=name) for name in ("one", "other")]
    before = [token(each) for each in revalidators]
    with engine.begin() as connection:
        rows = [{"namespace": name, "tenant": "1", "model": "label"} for name in ("one", "other")]
        connection.execute(insert(TABLES.pending), [*rows, {**rows[1], "tenant": "*"}])
    assert token(revalidators[0]) > before[0]
    assert count_pending(engine) == 2
    assert token(revalidators[1]) > before[1]
    assert count_pending(engine) == 0


def test_every_tenant_is_folded_first(engine: Engine) -> None:
    """It does nothing where a row is pending that means every tenant of a model that it is asked for."""
    first = fold(engine, *LABELS)
    note(engine, ("*", "label"), ("1", "label"), ("1", "team"))
    assert fold(engine, *LABELS) is None
    assert count_pending(engine) == 3
    assert fold(engine, ("1", "team")) is not None
    after = revalidator_on(DurableStore(engine, TABLES)).sync.fold_many({1: ["label"], 2: ["label"]})
    assert first is not None
    assert all(after[tenant]["label"] > first[tenant, "label"] for tenant in "12")


def test_many_folds_at_once(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Folds of sets that overlap, some of whose version rows are missing, neither deadlock nor lose a bump."""
    rng = random.Random(7)
    pairs = [(str(tenant), model) for tenant in range(6) for model in MODELS]
    store = DurableStore(engine, TABLES)
    revalidator = revalidator_on(store)

    def work(seed: int) -> None:
        mine = random.Random(seed)
        shown: dict[tuple[str, str], str] = {}
        for _ in range(25):
            some = mine.sample(pairs, mine.randint(1, 8))
            note(engine, *some)
            changes: dict[str, set[str]] = {}
            for tenant, model in some:
                changes.setdefault(tenant, set()).add(model)
            tokens = revalidator.sync.fold_many(changes)
            for tenant, model in some:
                assert tokens[tenant][model] > shown.get((tenant, model), "")
                shown[tenant, model] = tokens[tenant][model]

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, rng.randrange(10**6)) for _ in range(8)]:
            done.result(60)
    assert count_pending(engine) == 0
    assert not caplog.records


def until_waits(engine: Engine, connection: Connection) -> None:
    """Wait until somebody waits for a lock that `connection` holds."""
    holder = connection.scalar(text("SELECT pg_backend_pid()"))
    waiting = text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE :holder = ANY (pg_blocking_pids(pid)))")
    deadline = time.monotonic() + 3
    with engine.connect() as beside:
        while not beside.scalar(waiting, {"holder": holder}):
            beside.rollback()
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextmanager
def locked(engine: Engine, pair: tuple[str, str]) -> Iterator[Connection]:
    """Lock the version row of a pair, on the connection that is given, until the block ends."""
    tenant, model = pair
    versions = TABLES.versions.c
    with engine.begin() as connection:
        row = select(versions.token).where(versions.tenant == tenant, versions.model == model)
        assert connection.scalar(row.with_for_update()) is not None
        yield connection


def test_what_is_committed_while_it_waits(engine: Engine) -> None:
    """It counts in what was committed before it had the lock, and follows the token that was written meanwhile."""
    fold(engine, *LABELS)
    note(engine, LABELS[0])
    written = "8" + "0" * 19
    with ThreadPoolExecutor(1) as threads:
        with locked(engine, LABELS[0]) as connection:
            folding = threads.submit(fold, engine, *LABELS)
            until_waits(engine, connection)
            note(engine, LABELS[0])
            connection.execute(update(TABLES.versions).where(TABLES.versions.c.tenant == "1").values(token=written))
        tokens = folding.result(5)
    assert tokens is not None
    assert tokens[LABELS[0]] > written
    assert count_pending(engine) == 0
    assert fold(engine, *LABELS) == tokens


def test_every_tenant_is_noted_while_it_waits(engine: Engine) -> None:
    """What it has folded stays folded when it finds that every tenant comes first; no pair is left out."""
    labels, teams = [("1", "label"), ("1", "team")]
    before = fold(engine, labels, teams)
    assert before is not None
    note(engine, labels, teams)
    with ThreadPoolExecutor(1) as threads:
        with locked(engine, labels) as connection:
            folding = threads.submit(fold, engine, labels, teams)
            until_waits(engine, connection)
            note(engine, ("*", "team"))
        assert folding.result(5) is None
    assert count_pending(engine) == 2
    revalidator = revalidator_on(DurableStore(engine, TABLES))
    after = revalidator.sync.fold_many({1: ["label", "team"]})["1"]
    assert after["label"] > before[labels]
    assert after["team"] > before[teams]
    assert count_pending(engine) == 0


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_version_row_is_deleted_while_it_waits(engine: Engine, is_noted: bool) -> None:
    """A token is answered that is in the table, whatever becomes of the row that was to be locked."""
    fold(engine, *LABELS)
    pair = LABELS[0]
    note(engine, pair)
    revalidator = revalidator_on(DurableStore(engine, TABLES))
    with ThreadPoolExecutor(1) as threads:
        with locked(engine, pair) as connection:
            folding = threads.submit(token, revalidator)
            until_waits(engine, connection)
            if not is_noted:
                connection.execute(delete(TABLES.pending))
            connection.execute(delete(TABLES.versions).where(TABLES.versions.c.tenant == "1"))
        answered = folding.result(5)
    assert is_token(answered)
    assert token(revalidator) == answered


def test_where_it_is_missing(
    own_database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds take their steps instead, which is said once, with what mends it; then it is found."""
    with own_database.sync_engine("psycopg") as engine:
        by_steps(engine)
        monkeypatch.setattr(calling, "_AGAIN_AFTER", 0.0)
        revalidator = revalidator_on(DurableStore(engine, TABLES))
        before = token(revalidator)
        for _ in range(2):
            note(engine, ("1", "label"))
            assert token(revalidator) > before
        (said,) = caplog.records
        assert "op.create_cache_function()" in said.getMessage()
        assert fold(engine, *LABELS) is None
        with engine.begin() as connection:
            TABLES.create_function(connection)
        assert fold(engine, *LABELS) is not None


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_database_with_another_isolation_level(
    own_database: Database, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    """Where transactions are not at READ COMMITTED by default its statements would see too little: they are taken."""
    options = {"connect_args": {"options": f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}"}}
    with own_database.sync_engine("psycopg", **options) as engine:
        assert fold(engine, *LABELS) is None
        assert f"default_transaction_isolation is {level}" in caplog.text
        revalidator = revalidator_on(DurableStore(engine, TABLES))
        before = token(revalidator)
        note(engine, ("1", "label"))
        assert token(revalidator) > before
    with own_database.sync_engine("psycopg", isolation_level=level.upper()) as engine:
        assert fold(engine, *LABELS) is not None


def test_a_role_that_may_not_call_it(own_database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """It runs as its caller; whom it is revoked from takes the steps, if he may."""
    with own_database.sync_engine("psycopg") as engine:
        role = f"app_{own_database.name}"
        with engine.begin() as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
            connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"))
            connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"))
        app = create_engine(engine.url.set(username=role))
        assert fold(app, *LABELS) is not None
        note(app, *LABELS)
        with engine.begin() as connection:
            connection.execute(text(f"REVOKE ALL ON FUNCTION {FOLD} FROM PUBLIC"))
        assert fold(app, *LABELS) is None
        assert "permission denied for function" in caplog.text
        revalidator_on(DurableStore(app, TABLES)).sync.fold_many({1: ["label"], 2: ["label"]})
        assert count_pending(engine) == 0
        app.dispose()
        with engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize("schema", [None, "my desk"])
def test_a_schema(own_database: Database, schema: str | None) -> None:
    """It is created next to the tables, by their schema, or by a translated one; and it is dropped with them."""
    metadata = MetaData()
    tables = add_tables(metadata, schema=schema)
    engine = create_engine(own_database.url("psycopg"))
    with engine.begin() as connection:
        for name in ("my desk", 'of "a" tenant'):
            connection.execute(text(f"CREATE SCHEMA {engine.dialect.identifier_preparer.quote(name)}"))
    for each, where in (
        (engine, schema or "public"),
        (engine.execution_options(schema_translate_map={schema: 'of "a" tenant'}), 'of "a" tenant'),
    ):
        metadata.create_all(each)
        assert functions(each) == {engine.dialect.identifier_preparer.quote(where)}
        store = DurableStore(each, tables, MemoryStore())
        revalidator = revalidator_on(store)
        before = token(revalidator)
        with each.begin() as connection:
            store.note(revalidator.keyspace, connection, {"1": {"label"}})
        assert token(revalidator) > before
        assert not store._calling._is_told
        metadata.drop_all(each)
        assert functions(each) == set()
    engine.dispose()


@pytest.mark.parametrize("schema", ["100%s of a :desk", "a::desk"])
def test_a_schema_that_reads_like_a_parameter(
    own_database: Database, caplog: pytest.LogCaptureFixture, schema: str
) -> None:
    """What has a meaning of its own in a statement with parameters is but a letter of a name."""
    metadata = MetaData()
    tables = add_tables(metadata, schema=schema)
    engine = create_engine(own_database.url("psycopg"))
    with engine.begin() as connection:
        connection.execute(CreateSchema(schema))
    metadata.create_all(engine)
    store = DurableStore(engine, tables)
    revalidator = revalidator_on(store)
    before = token(revalidator)
    with engine.begin() as connection:
        store.note(revalidator.keyspace, connection, {"1": {"label"}})
    assert token(revalidator) > before
    assert not caplog.records
    engine.dispose()


def test_tables_that_were_copied(own_database: Database) -> None:
    """It is created next to a copy of the tables in another schema, and dropped with that."""
    metadata, copied = MetaData(), MetaData()
    add_tables(metadata)
    for table in metadata.sorted_tables:
        table.to_metadata(copied, schema="tenant")
    engine = create_engine(own_database.url("psycopg"))
    with engine.begin() as connection:
        connection.execute(CreateSchema("tenant"))
    metadata.create_all(engine)
    copied.create_all(engine)
    assert functions(engine) == {"public", "tenant"}
    assert fold(engine, *LABELS, tables=add_tables(copied, schema="tenant")) is not None
    copied.drop_all(engine)
    assert functions(engine) == {"public"}
    engine.dispose()


def test_tables_that_are_not_its_own(own_database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Where search_path leads to other tables than to the function's, the rows are folded that are noted there."""
    metadata = MetaData()
    tables = add_tables(metadata)
    engine = create_engine(own_database.url("psycopg"))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA tenant"))
    tenant = create_engine(own_database.url("psycopg"), connect_args={"options": "-c search_path=tenant,public"})
    metadata.create_all(tenant, checkfirst=False)
    with tenant.begin() as connection:
        connection.execute(text(f"DROP FUNCTION tenant.{FOLD}"))
    note(tenant, *LABELS, tables=tables)
    before = revalidator_on(DurableStore(tenant, tables)).sync.fold_many({1: ["label"], 2: ["label"]})
    assert "which is not the one that search_path leads to" in caplog.text
    with tenant.connect() as connection:
        rows = connection.execute(select(tables.versions.c.tenant, tables.versions.c.token)).all()
    assert {tenant: {"label": token} for tenant, token in rows} == before
    with engine.connect() as connection:
        assert connection.scalar(select(tables.versions.c.tenant)) is None
    tenant.dispose()
    engine.dispose()


def test_it_is_in_a_script(tmp_path: Any) -> None:
    """It is among what `create_all` would execute on PostgreSQL, and not on other databases."""
    metadata = MetaData()
    add_tables(metadata)
    for url, is_there in (("postgresql+psycopg://", True), ("sqlite://", False)):
        statements: list[str] = []

        def execute(statement: Any, *_: object, **__: object) -> None:
            statements.append(str(statement.compile(dialect=mock.dialect)))  # noqa: B023

        mock = create_mock_engine(url, execute)
        metadata.create_all(mock, checkfirst=False)
        assert (FOLD in "".join(statements)) is is_there
    engine = create_engine(f"sqlite:///{tmp_path / 'desk.sqlite'}")
    metadata.create_all(engine)
    with engine.begin() as connection:
        add_tables(metadata).create_function(connection)
    assert len(inspect(engine).get_table_names()) == 2
    engine.dispose()
