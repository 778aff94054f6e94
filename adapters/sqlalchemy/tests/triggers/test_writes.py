"""Whatever PostgreSQL writes, its triggers note, in the same transaction."""

import uuid
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError
from tests.support.fixtures import PostgresDatabase

from cache_revalidate_sqlalchemy import Triggers

Noted = Callable[[], set[str]]
Run = Callable[..., None]

pytestmark = pytest.mark.usefixtures("triggers")


@pytest.fixture
def desk(run: Run, noted: Noted) -> None:
    """Have some rows in the desk's tables, noted and forgotten."""
    run(
        "INSERT INTO labels (id, account_id, title) VALUES (1, 1, 'a'), (2, 2, 'b'), (3, NULL, 'c')",
        "INSERT INTO inboxes (id, account_id, name) VALUES (1, 1, 'a'), (2, 2, 'b')",
        "INSERT INTO inbox_members (id, inbox_id, user_id) VALUES (1, 1, 1), (2, 2, 2)",
        "INSERT INTO conversations (id, account_id) VALUES (1, 1), (2, 2)",
        "SELECT setval('labels_id_seq', 100), setval('inbox_members_id_seq', 100)",
    )
    noted()


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO labels (account_id, title) VALUES (1, 'x')", {"label 1"}),
        ("INSERT INTO labels (account_id, title) VALUES (5, 'x'), (6, 'y'), (NULL, 'z')", {"label 5", "label 6"}),
        ("INSERT INTO labels (account_id, title) SELECT account_id + 10, title FROM labels", {"label 11", "label 12"}),
        ("UPDATE labels SET title = 'x' WHERE id = 1", {"label 1"}),
        ("UPDATE labels SET title = 'x'", {"label 1", "label 2"}),
        ("UPDATE labels SET account_id = 7 WHERE id = 1", {"label 1", "label 7"}),
        ("UPDATE labels SET account_id = 7 WHERE id = 3", {"label 7"}),
        ("UPDATE labels SET account_id = NULL WHERE id = 1", {"label 1"}),
        ("UPDATE labels SET title = 'x' WHERE id = 99", set()),
        ("DELETE FROM labels WHERE account_id = 2", {"label 2"}),
        ("DELETE FROM labels WHERE id = 99", set()),
        ("INSERT INTO teams (account_id, name) VALUES (1, 'x')", {"team 1"}),
        ("INSERT INTO notes (text) VALUES ('x')", set()),
        (
            "WITH gone AS (DELETE FROM labels RETURNING id) INSERT INTO notes SELECT id, 'x' FROM gone",
            {"label 1", "label 2"},
        ),
        ("DO $$ BEGIN UPDATE labels SET title = 'x' WHERE id = 2; END $$", {"label 2"}),
    ],
)
def test_a_statement_notes_its_tenants(statement: str, expected: set[str], run: Run, noted: Noted) -> None:
    """Each tenant whose rows are written, those that a row leaves and enters, is noted once; NULL is none."""
    run(statement)
    assert noted() == expected


def test_a_statement_notes_a_tenant_once(run: Run, engine: Engine) -> None:
    """However many rows a statement writes, one pending row says so."""
    run("INSERT INTO labels (account_id, title) SELECT 1, 'x' FROM generate_series(1, 1000)")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM cache_revalidate_pending")) == 1


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO labels VALUES (1, 3, 'x') ON CONFLICT DO NOTHING", set()),
        ("INSERT INTO labels VALUES (9, 3, 'x') ON CONFLICT DO NOTHING", {"label 3"}),
        (
            "INSERT INTO labels VALUES (1, 3, 'x'), (9, 4, 'y') ON CONFLICT (id) DO UPDATE SET title = 'z'",
            {"label 1", "label 4"},
        ),
        (
            "INSERT INTO labels VALUES (1, 3, 'x') ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id",
            {"label 1", "label 3"},
        ),
    ],
)
def test_upserts(statement: str, expected: set[str], run: Run, noted: Noted) -> None:
    """ON CONFLICT notes the rows that it inserts and those that it updates, not those that it leaves alone."""
    run(statement)
    assert noted() == expected


@pytest.mark.usefixtures("desk")
def test_merge(run: Run, noted: Noted) -> None:
    """MERGE notes what it inserts, updates and deletes."""
    run(
        "MERGE INTO labels USING (VALUES (1), (2), (8)) AS given (id) ON labels.id = given.id "
        "WHEN MATCHED AND labels.id = 1 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET account_id = 22 "
        "WHEN NOT MATCHED THEN INSERT (id, account_id, title) VALUES (given.id, 88, 'x')"
    )
    assert noted() == {"label 1", "label 2", "label 22", "label 88"}


def test_copy(postgres_database: PostgresDatabase, noted: Noted) -> None:
    """COPY notes the rows that it brings."""
    url = postgres_database.url("psycopg").replace("+psycopg", "")
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY labels (id, account_id, title) FROM STDIN") as copy:
            copy.write_row((1, 1, "a"))
            copy.write_row((2, 42, "b"))
        connection.commit()
    assert noted() == {"label 1", "label 42"}


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO inbox_members (inbox_id, user_id) VALUES (2, 1)", {"inbox 2"}),
        ("UPDATE inbox_members SET user_id = 5 WHERE id = 1", {"inbox 1"}),
        ("UPDATE inbox_members SET inbox_id = 2 WHERE id = 1", {"inbox 1", "inbox 2"}),
        ("DELETE FROM inbox_members", {"inbox 1", "inbox 2"}),
        ("UPDATE inboxes SET account_id = 3 WHERE id = 1", {"inbox 1", "inbox 3"}),
        ("INSERT INTO conversation_labels VALUES (1, 1)", {"conversation 1", "label 1"}),
        ("INSERT INTO conversation_labels VALUES (2, 3)", {"conversation 2"}),
    ],
)
def test_dependents(statement: str, expected: set[str], run: Run, noted: Noted) -> None:
    """The tenant of a dependent row is found along its foreign key; a many-to-many row touches both of its ends."""
    run(statement)
    assert noted() == expected


@pytest.mark.usefixtures("desk")
def test_truncate_touches_every_tenant(run: Run, noted: Noted) -> None:
    """TRUNCATE tells nobody which rows it removes, so every tenant of the table's models is noted."""
    run("TRUNCATE labels CASCADE")
    assert noted() == {"label *", "conversation *"}


def test_savepoints(engine: Engine, noted: Noted) -> None:
    """What is rolled back to a savepoint is not noted, nor is a transaction that is rolled back."""
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO labels (account_id, title) VALUES (1, 'x')"))
        with connection.begin_nested() as savepoint:
            connection.execute(text("INSERT INTO labels (account_id, title) VALUES (2, 'x')"))
            savepoint.rollback()
        with connection.begin_nested():
            connection.execute(text("INSERT INTO labels (account_id, title) VALUES (3, 'x')"))
        connection.commit()
        connection.execute(text("INSERT INTO labels (account_id, title) VALUES (4, 'x')"))
        connection.rollback()
    assert noted() == {"label 1", "label 3"}


def test_two_phase(run: Run, engine: Engine, noted: Noted) -> None:
    """A prepared transaction is noted when another session commits it, and not before."""
    names = [uuid.uuid4().hex for _ in range(2)]
    for account, name in enumerate(names):
        with engine.connect() as connection:
            connection.execute(text(f"INSERT INTO labels (account_id, title) VALUES ({account}, 'x')"))
            connection.execute(text(f"PREPARE TRANSACTION '{name}'"))
            connection.rollback()
    assert noted() == set()
    run(f"COMMIT PREPARED '{names[0]}'", f"ROLLBACK PREPARED '{names[1]}'")
    assert noted() == {"label 0"}


def test_isolation_levels(engine: Engine, noted: Noted) -> None:
    """The note is a blind INSERT, so that two transactions of one tenant commit at SERIALIZABLE side by side."""
    serializable = engine.execution_options(isolation_level="SERIALIZABLE")
    with serializable.connect() as one, serializable.connect() as other:
        for connection in (one, other):
            connection.execute(text("INSERT INTO labels (account_id, title) VALUES (1, 'x')"))
        one.commit()
        other.commit()
    assert noted() == {"label 1"}


def test_a_role_without_rights_on_our_tables(run: Run, engine: Engine, noted: Noted) -> None:
    """Who may write to the app's tables alone writes, and it is noted; our own tables stay closed to him."""
    role = f"writer_{uuid.uuid4().hex}"
    run(f"CREATE ROLE {role}", f"GRANT INSERT, UPDATE, DELETE, SELECT ON labels, inbox_members TO {role}")
    run(f"GRANT USAGE ON SEQUENCE labels_id_seq, inbox_members_id_seq TO {role}")
    run("INSERT INTO inboxes (id, account_id, name) VALUES (1, 9, 'a')")
    noted()
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            connection.execute(text("INSERT INTO labels (account_id, title) VALUES (1, 'x')"))
            connection.execute(text("INSERT INTO inbox_members (inbox_id, user_id) VALUES (1, 1)"))
        assert noted() == {"label 1", "inbox 9"}
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text("INSERT INTO cache_revalidate_pending (model) VALUES ('x')"))
    finally:
        run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_hostile_search_path(engine: Engine, noted: Noted) -> None:
    """Names that a session puts in front of ours are not found by the functions."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TEMP TABLE cache_revalidate_pending (namespace text, model text, tenant text)"))
        connection.execute(text("CREATE TEMP TABLE inboxes (id int, account_id int)"))
        connection.execute(text("INSERT INTO public.inboxes (id, account_id, name) VALUES (1, 1, 'a')"))
        connection.execute(text("INSERT INTO inbox_members (inbox_id, user_id) VALUES (1, 1)"))
        connection.execute(text("DROP TABLE pg_temp.cache_revalidate_pending"))
    assert noted() == {"inbox 1"}


def test_a_hostile_operator(engine: Engine, noted: Noted) -> None:
    """Nor are operators."""
    with engine.begin() as connection:
        for statement in (
            "CREATE SCHEMA hostile",
            "CREATE FUNCTION hostile.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
            "CREATE OPERATOR hostile.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.no)",
            "SET LOCAL search_path = hostile, pg_catalog, public",
            "INSERT INTO labels (account_id, title) VALUES (1, 'x')",
        ):
            connection.execute(text(statement))
    assert noted() == {"label 1"}


def test_a_table_that_changes_its_shape(engine: Engine, noted: Noted) -> None:
    """Columns that come and go within one session are no trouble to its triggers."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (
            "INSERT INTO labels (account_id, title) VALUES (1, 'x')",
            "UPDATE labels SET title = 'y'",
            "ALTER TABLE labels ADD COLUMN colour text DEFAULT 'red'",
            "INSERT INTO labels (account_id, title) VALUES (2, 'x')",
            "UPDATE labels SET colour = 'blue'",
            "ALTER TABLE labels DROP COLUMN title",
            "ALTER TABLE labels ALTER COLUMN account_id TYPE bigint",
            "INSERT INTO labels (account_id) VALUES (30000000000)",
            "DELETE FROM labels WHERE account_id = 2",
        ):
            connection.execute(text(statement))
    assert noted() == {"label 1", "label 2", "label 30000000000"}


def test_triggers_that_are_kept_from_firing(run: Run, engine: Engine, noted: Noted) -> None:
    """What is outside the promise: a disabled trigger, and a session that replays for a replica, note nothing."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("INSERT INTO labels (account_id, title) VALUES (1, 'x')"))
    run("ALTER TABLE labels DISABLE TRIGGER USER", "INSERT INTO labels (account_id, title) VALUES (2, 'x')")
    assert noted() == set()


def test_dropped(triggers: Triggers, engine: Engine, run: Run, noted: Noted) -> None:
    """Dropped, they leave nothing behind."""
    with engine.begin() as connection:
        triggers.drop(connection)
        triggers.drop(connection)
    run("INSERT INTO labels (account_id, title) VALUES (1, 'x')")
    assert noted() == set()
    with engine.connect() as connection:
        left = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'cache_revalidate%' AND prorettype = 'trigger'::regtype"
        assert connection.scalar(text(left)) == 0
