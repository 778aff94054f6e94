"""Partitions: writes by the parent's name and by their own, and what `inspect` finds."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, PrimaryKeyConstraint, Table, create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped
from tests.support.fixtures import PostgresDatabase

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate_sqlalchemy import Finding, Triggers, add_tables, touch

Write = Callable[..., set[str]]


class Base(DeclarativeBase):
    """Classes of a partitioned table."""


TABLES = add_tables(Base.metadata)


class Event(Base):
    """A row of a partitioned table."""

    __tablename__ = "events"
    id: Mapped[int]
    account_id: Mapped[int]
    region: Mapped[int]
    __table_args__ = (PrimaryKeyConstraint("id", "region"), {"postgresql_partition_by": "LIST (region)"})


TRIGGERS = Triggers(Revalidator(["event"]), TABLES, {Event: "account_id"})


@pytest.fixture
def engine(postgres_database: PostgresDatabase) -> Iterator[Engine]:
    """Give an engine on a partitioned table: regions 1 and 2, the latter partitioned again."""
    engine = create_engine(postgres_database.url("psycopg"))
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        for statement in (
            "CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1)",
            "CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2) PARTITION BY HASH (id)",
            "CREATE TABLE events_2_0 PARTITION OF events_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        ):
            connection.execute(text(statement))
        TRIGGERS.create(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def write(engine: Engine) -> Write:
    """Give a function that writes and tells what was noted, as in {"event 1"}."""

    def write(*statements: str) -> set[str]:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        with engine.begin() as connection:
            rows = connection.execute(text("DELETE FROM cache_revalidate_pending RETURNING model, tenant")).all()
            assert len(rows) == len(set(rows))
            return {f"{model} {tenant}" for model, tenant in rows}

    return write


def inspect(engine: Engine) -> list[Finding]:
    """Return what is found."""
    with engine.connect() as connection:
        return list(TRIGGERS.inspect(connection).findings)


def test_writes_by_any_name(write: Write) -> None:
    """A row is noted once, be it written by the parent's name, by its partition's, or by one between."""
    assert write("INSERT INTO events VALUES (1, 10, 1), (2, 20, 2)") == {"event 10", "event 20"}
    assert write("INSERT INTO events_1 VALUES (3, 11, 1)") == {"event 11"}
    assert write("INSERT INTO events_2 VALUES (4, 21, 2)") == {"event 21"}
    assert write("INSERT INTO events_2_0 VALUES (5, 22, 2)") == {"event 22"}
    assert write("UPDATE events_1 SET account_id = 12 WHERE id = 3") == {"event 11", "event 12"}
    assert write("DELETE FROM events_2_0 WHERE id = 5") == {"event 22"}
    assert write("TRUNCATE events_1") == {"event *"}


def test_rows_that_move_between_partitions(write: Write) -> None:
    """An UPDATE that moves a row to another partition notes both of its tenants."""
    write("INSERT INTO events VALUES (1, 10, 1)")
    assert write("UPDATE events SET region = 2, account_id = 30") == {"event 10", "event 30"}
    assert write("UPDATE events SET region = 1") == {"event 30"}


def test_a_new_partition(engine: Engine, write: Write) -> None:
    """Until `create` is called again, writes by a new partition's own name go unnoted, and `inspect` names it."""
    assert inspect(engine) == []
    write("CREATE TABLE events_3 PARTITION OF events FOR VALUES IN (3)")
    assert write("INSERT INTO events VALUES (1, 10, 3)") == {"event 10"}
    assert write("INSERT INTO events_3 VALUES (2, 10, 3)") == set()
    assert [(finding.problem, finding.relation) for finding in inspect(engine)] == [("no trigger", "public.events_3")]
    with engine.begin() as connection:
        TRIGGERS.create(connection)
    assert inspect(engine) == []
    assert write("INSERT INTO events_3 VALUES (3, 10, 3)") == {"event 10"}


def test_create_leaves_alone_what_is_right(engine: Engine, write: Write) -> None:
    """Called again, `create` waits for no table that has its triggers, so it may run while the app works."""
    with engine.connect() as writer:
        writer.execute(text("INSERT INTO events VALUES (1, 10, 1)"))
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            TRIGGERS.create(connection)
        writer.commit()


def test_attached_and_detached(engine: Engine, write: Write) -> None:
    """The rows that come and go with a partition are noted, and so are direct writes to it while it is one."""
    create = "CREATE TABLE events_4 (LIKE events INCLUDING ALL)"
    assert write(create, "INSERT INTO events_4 VALUES (1, 40, 4), (2, 41, 4), (3, 41, 4)") == set()
    with engine.begin() as connection:
        TRIGGERS.attach_partition(connection, Event, "events_4", "FOR VALUES IN (4)", schema="public")
    assert inspect(engine) == []
    assert write("INSERT INTO events_4 VALUES (4, 42, 4)") == {"event 40", "event 41", "event 42"}
    with engine.begin() as connection:
        TRIGGERS.detach_partition(connection, Event, "events_4")
    assert inspect(engine) == []
    assert write("INSERT INTO events_4 VALUES (5, 43, 4)") == {"event 40", "event 41", "event 42"}


def test_columns_in_another_order(engine: Engine, write: Write) -> None:
    """A partition whose columns stand elsewhere than its parent's, and have gaps, is noted by their names."""
    write("CREATE TABLE events_9 (gone int, region int NOT NULL, account_id int NOT NULL, id int NOT NULL)")
    write("ALTER TABLE events_9 DROP COLUMN gone", "ALTER TABLE events_9 ADD PRIMARY KEY (id, region)")
    with engine.begin() as connection:
        TRIGGERS.attach_partition(connection, Event, "events_9", "FOR VALUES IN (9)")
    assert write("INSERT INTO events (id, account_id, region) VALUES (1, 90, 9)") == {"event 90"}
    assert write("UPDATE events_9 SET account_id = 91") == {"event 90", "event 91"}
    assert write("UPDATE events SET account_id = 92, region = 1") == {"event 91", "event 92"}


def test_tables_that_inherit(engine: Engine, write: Write) -> None:
    """PostgreSQL's older inheritance is tracked in the same way."""
    write("CREATE TABLE plain (id int, account_id int)", "CREATE TABLE more (note text) INHERITS (plain)")
    plain = Table("plain", MetaData(), Column("account_id", Integer))
    with engine.begin() as connection:
        Triggers(Revalidator(["event"]), TABLES, {plain: touch("event", "account_id")}).create(connection)
    assert write("INSERT INTO more VALUES (1, 1, 'x')") == {"event 1"}
    assert write("UPDATE plain SET account_id = 2") == {"event 1", "event 2"}


def test_a_partition_that_does_not_fit(engine: Engine, write: Write) -> None:
    """What PostgreSQL does not attach has no triggers and notes nothing."""
    write("CREATE TABLE events_5 (LIKE events INCLUDING ALL)", "INSERT INTO events_5 VALUES (1, 50, 6)")
    with pytest.raises(Exception, match="violated"), engine.begin() as connection:
        TRIGGERS.attach_partition(connection, Event, "events_5", "FOR VALUES IN (5)")
    assert inspect(engine) == []
    assert write("INSERT INTO events_5 VALUES (2, 50, 6)") == set()
    with pytest.raises(ConfigurationError, match="no table events_6"), engine.begin() as connection:
        TRIGGERS.attach_partition(connection, Event, "events_6", "DEFAULT")


def test_a_partition_of_another_server(engine: Engine, write: Write) -> None:
    """A foreign table can't have such triggers: `inspect` says so, and the others have theirs."""
    write(
        "ALTER TABLE events DROP CONSTRAINT events_pkey",  # no unique index has rows on another server
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE events_7 PARTITION OF events FOR VALUES IN (7) SERVER files OPTIONS (filename '/x')",
    )
    with engine.begin() as connection:
        TRIGGERS.create(connection)
    assert [(finding.problem, finding.relation) for finding in inspect(engine)] == [
        ("no trigger possible", "public.events_7")
    ]
    assert write("INSERT INTO events VALUES (1, 10, 1)") == {"event 10"}


def test_no_permission_is_an_error(engine: Engine) -> None:
    """Who may not make triggers is told by the database."""
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE events_8 PARTITION OF events FOR VALUES IN (8)"))
        connection.execute(text("SET LOCAL ROLE pg_monitor"))
        with pytest.raises(ProgrammingError, match=r"must be owner|permission denied"):
            TRIGGERS.create(connection)
