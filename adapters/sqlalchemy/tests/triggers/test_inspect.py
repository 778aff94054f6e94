"""Creating again, several namespaces and schemas, and what `inspect` finds."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, Team, new_revalidator
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, insert, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tests.support.fixtures import PostgresDatabase

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate_sqlalchemy import Inspection, Triggers, add_tables, sql, touch

Run = Callable[..., None]
Noted = Callable[[], set[str]]


def inspect(engine: Engine, triggers: Triggers) -> Inspection:
    """Return what is found."""
    with engine.connect() as connection:
        return triggers.inspect(connection)


def problems(engine: Engine, triggers: Triggers) -> set[tuple[str, str]]:
    """Return what is wrong, and where."""
    return {(finding.problem, finding.relation) for finding in inspect(engine, triggers).findings}


def test_nothing_is_there(engine: Engine) -> None:
    """Before they are created every table lacks its triggers, and `inspect` says so in words."""
    found = inspect(engine, Triggers(new_revalidator(), TABLES, {Label: "account_id"}))
    assert not found.is_complete
    assert str(found).splitlines() == [
        "The triggers of the namespace cache_revalidate are not as declared.",
        (
            "public.conversation_labels: no trigger: insert, update, delete, truncate by its own name goes unnoted; "
            "create() adds what is missing."
        ),
        (
            "public.labels: no trigger: insert, update, delete, truncate by its own name goes unnoted; "
            "create() adds what is missing."
        ),
    ]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("ALTER TABLE labels DISABLE TRIGGER USER", "disabled"),
        ("ALTER TABLE labels ENABLE REPLICA TRIGGER {trigger}", "disabled"),
        ("DROP TRIGGER {trigger} ON labels", "no trigger"),
        ("DROP FUNCTION {function} CASCADE", "no trigger"),
        ("ALTER FUNCTION {function} SECURITY INVOKER", "outdated"),
        ("ALTER FUNCTION {function} RESET search_path", "outdated"),
        (
            (
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
                "SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'"
            ),
            "outdated",
        ),
        ("CREATE OR REPLACE TRIGGER {trigger} AFTER INSERT ON labels EXECUTE FUNCTION {function}()", "outdated"),
    ],
)
def test_what_was_changed_is_found_and_mended(
    statement: str, problem: str, engine: Engine, triggers: Triggers, run: Run, noted: Noted
) -> None:
    """Whatever somebody did to the triggers of a table, `inspect` finds it and `create` mends it."""
    with engine.connect() as connection:
        trigger, function = connection.execute(
            text(
                "SELECT tgname, tgfoid::regproc::text FROM pg_trigger WHERE tgrelid = 'labels'::regclass AND tgtype = 4"
            )
        ).one()
    run(statement.format(trigger=trigger, function=function))
    assert problems(engine, triggers) == {(problem, "public.labels")}
    with engine.begin() as connection:
        triggers.create(connection)
    assert str(inspect(engine, triggers)) == "The triggers of the namespace cache_revalidate are as declared."
    run("INSERT INTO labels (account_id, title) VALUES (1, 'x')")
    assert noted() == {"label 1"}


def test_a_table_that_is_gone(engine: Engine, triggers: Triggers, run: Run) -> None:
    """A declared table that is not there is found, and no triggers are created without it."""
    run("DROP TABLE teams")
    assert problems(engine, triggers) == {("no table", "teams")}
    with pytest.raises(ConfigurationError, match="There is no table teams"), engine.begin() as connection:
        triggers.create(connection)


def test_what_is_not_declared_any_more(engine: Engine, triggers: Triggers, run: Run, noted: Noted) -> None:
    """Triggers of tables that are no longer declared are left over, until `create` drops them."""
    fewer = Triggers(new_revalidator(), TABLES, {Label: "account_id"})
    assert {relation for problem, relation in problems(engine, fewer) if problem == "left over"} >= {"public.teams"}
    with engine.begin() as connection:
        fewer.create(connection)
    assert inspect(engine, fewer).is_complete
    run(
        "INSERT INTO teams (account_id, name) VALUES (1, 'x')", "INSERT INTO labels (account_id, title) VALUES (1, 'x')"
    )
    assert noted() == {"label 1"}


def test_a_table_that_was_renamed(engine: Engine, triggers: Triggers, run: Run) -> None:
    """Triggers go with a table that is renamed, and are those of a table that is not declared."""
    run("ALTER TABLE teams RENAME TO groups")
    assert problems(engine, triggers) == {("no table", "teams"), ("left over", "public.groups")}
    run("ALTER TABLE groups RENAME TO teams")
    assert inspect(engine, triggers).is_complete


def test_namespaces_side_by_side(engine: Engine, triggers: Triggers, run: Run) -> None:
    """Two apps in one database have triggers and pending rows of their own on the same table."""
    other = Triggers(Revalidator(["person"], namespace="other:app"), TABLES, {Team: touch("person", "account_id")})
    with engine.begin() as connection:
        other.create(connection)
    run("INSERT INTO teams (account_id, name) VALUES (1, 'x')")
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT namespace, model FROM cache_revalidate_pending")).all()
        assert {tuple(row) for row in rows} == {("cache_revalidate", "team"), ("other:app", "person")}
        triggers.drop(connection)
    assert inspect(engine, other).is_complete
    assert not inspect(engine, triggers).is_complete


def test_roles(engine: Engine, triggers: Triggers, run: Run) -> None:
    """Roles whose writes would fail are named: a function's owner, or each who writes where it runs as its caller."""
    owner, writer, reader = (f"{kind}_{uuid.uuid4().hex}" for kind in ("owner", "writer", "reader"))
    run(*(f"CREATE ROLE {role}" for role in (owner, writer, reader)))
    try:
        run(f"GRANT UPDATE ON labels TO {writer}", f"GRANT SELECT ON labels TO {reader}")
        with engine.connect() as connection:
            of = "SELECT tgfoid::regproc::text FROM pg_trigger WHERE tgrelid = '{}'::regclass AND tgtype = 4"
            labels, members = (connection.scalar(text(of.format(name))) for name in ("labels", "inbox_members"))
        run(f"ALTER FUNCTION {members} OWNER TO {owner}")
        assert {(f.problem, f.relation, f.role) for f in inspect(engine, triggers).findings} == {
            ("no rights", "public.inbox_members", owner)
        }
        assert f"{owner}, who owns the function, has no right to SELECT on public.inboxes" in str(
            inspect(engine, triggers)
        )
        run(f"GRANT INSERT ON cache_revalidate_pending TO {owner}", f"GRANT SELECT ON inboxes TO {owner}")
        assert "INSERT on public.cache_revalidate_pending" in str(inspect(engine, triggers))
        run(f"GRANT USAGE ON SEQUENCE cache_revalidate_pending_id_seq TO {owner}")
        assert inspect(engine, triggers).is_complete
        run("ALTER TABLE inboxes ENABLE ROW LEVEL SECURITY")
        assert problems(engine, triggers) == {("row security", "public.inbox_members")}
        run("ALTER TABLE inboxes DISABLE ROW LEVEL SECURITY")
        run(f"ALTER FUNCTION {labels} SECURITY INVOKER")
        assert {(f.problem, f.role) for f in inspect(engine, triggers).findings} == {
            ("outdated", None),
            ("no rights", writer),
        }
    finally:
        for role in (owner, writer, reader):
            run(f"REASSIGN OWNED BY {role} TO postgres", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_nobody_else_uses_the_functions(engine: Engine, triggers: Triggers, run: Run) -> None:
    """A role can't put our functions, which run as their owner, on a table of its own."""
    role = f"role_{uuid.uuid4().hex}"
    run(f"CREATE ROLE {role}", f"GRANT CREATE ON SCHEMA public TO {role}")
    try:
        with engine.connect() as connection:
            function = connection.scalar(text("SELECT proname FROM pg_proc WHERE proname LIKE 'cache_rev%' LIMIT 1"))
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            connection.execute(text("CREATE TABLE own (account_id int)"))
            with pytest.raises(Exception, match="permission denied for function"):
                connection.execute(text(f"CREATE TRIGGER x AFTER INSERT ON own EXECUTE FUNCTION {function}()"))
    finally:
        run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


class Base(DeclarativeBase):
    """Classes whose names need quotes."""

    metadata = MetaData(schema="my Desk")


class Odd(Base):
    """A row of a table with such names."""

    __tablename__ = 'odd " name; DROP TABLE x -- %s :x $body$ ' + "long" * 5
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column('the "Owner" %', Integer)


ODD_TABLES = add_tables(Base.metadata)


@pytest.fixture
def odd(postgres_database: PostgresDatabase) -> Iterator[Engine]:
    """Give an engine on a schema whose names need quotes."""
    engine = create_engine(postgres_database.url("psycopg"))
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "my Desk"'))
        Base.metadata.create_all(connection)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "tenant", ["owner", sql('CASE WHEN 1=1 THEN \'$body$ % :x\' ELSE \'\' END || "the ""Owner"" %"')]
)
def test_odd_names(odd: Engine, tenant: str) -> None:
    """Names and SQL pass as they are, whatever is in them, in a schema that is on nobody's search path."""
    triggers = Triggers(Revalidator(["odd"]), ODD_TABLES, {Odd: tenant})
    with odd.begin() as connection:
        triggers.create(connection)
        triggers.create(connection)
        assert triggers.inspect(connection).is_complete
        Session(connection).execute(insert(Odd), [{"owner": 7}])
        noted = connection.execute(ODD_TABLES.pending.select()).all()
        assert [row.tenant for row in noted] == ([] if isinstance(tenant, sql) else ["7"])
        triggers.drop(connection)


def test_a_search_path(engine: Engine, run: Run) -> None:
    """Tables without a schema are found along the connection's search path, each where it is."""
    run("CREATE SCHEMA app", "ALTER TABLE labels SET SCHEMA app")
    labels = Table("labels", MetaData(), Column("account_id", Integer))
    triggers = Triggers(new_revalidator(), TABLES, {labels: touch("label", "account_id"), Team: "account_id"})
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path = app, public"))
        triggers.create(connection)
        assert triggers.inspect(connection).is_complete
    run("INSERT INTO app.labels (account_id, title) VALUES (1, 'x')")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT tenant FROM public.cache_revalidate_pending")) == "1"


def test_columns_named_like_variables(engine: Engine, run: Run, noted: Noted) -> None:
    """A name in `sql()` is a column's, be it also one of PL/pgSQL's own variables."""
    run("CREATE TABLE things (found text, tg_op text)")
    things = Table("things", MetaData(), Column("found", String))
    with engine.begin() as connection:
        Triggers(new_revalidator(), TABLES, {things: touch("label", sql("found || tg_op"))}).create(connection)
    run("INSERT INTO things VALUES ('a', 'b')")
    assert noted() == {"label ab"}


def test_schemas_that_are_translated(engine: Engine, run: Run) -> None:
    """Where each customer has a schema of its own, SQLAlchemy's `schema_translate_map` says which is meant."""
    for customer in ("one", "two"):
        run(f"CREATE SCHEMA {customer}", f"CREATE TABLE {customer}.labels (account_id int)")
    labels = Table("labels", MetaData(), Column("account_id", Integer), schema="customer")
    triggers = Triggers(new_revalidator(), TABLES, {labels: touch("label", "account_id")})
    for customer in ("one", "two"):
        with engine.execution_options(schema_translate_map={"customer": customer}).begin() as connection:
            triggers.create(connection)
            assert triggers.inspect(connection).is_complete
            connection.execute(labels.insert(), {"account_id": 1})
            assert connection.execute(TABLES.pending.delete()).rowcount == 1


def test_processes_that_create_at_the_same_time(engine: Engine, run: Run, noted: Noted) -> None:
    """Processes that all create the triggers when they start wait for one another, and none fails."""
    triggers = Triggers(new_revalidator(), TABLES, ATTACHED)

    def create(_: int) -> None:
        with engine.begin() as connection:
            triggers.create(connection)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(8)))
    assert inspect(engine, triggers).is_complete


def test_other_databases(tmp_path: Path) -> None:
    """There are no such triggers elsewhere."""
    engine = create_engine(f"sqlite:///{tmp_path / 'desk.sqlite'}")
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="for PostgreSQL, not for sqlite"):
        Triggers(new_revalidator(), TABLES, {Label: "account_id"}).create(connection)
    engine.dispose()


async def test_async_connections(postgres_database: PostgresDatabase) -> None:
    """An asynchronous connection creates them by `run_sync`."""
    engine = create_async_engine(postgres_database.url("asyncpg"))
    triggers = Triggers(new_revalidator(), TABLES, ATTACHED)
    async with engine.begin() as connection:
        await connection.run_sync(TABLES.pending.metadata.create_all)
        await connection.run_sync(triggers.create)
        assert (await connection.run_sync(triggers.inspect)).is_complete
        await connection.run_sync(triggers.drop)
    await engine.dispose()
