"""The desk on a real PostgreSQL whose triggers note every write."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, new_revalidator, sync_engine
from sqlalchemy import Engine, delete, text
from tests.support.fixtures import PostgresDatabase

from cache_revalidate_sqlalchemy import Triggers


@pytest.fixture
def engine(postgres_database: PostgresDatabase) -> Iterator[Engine]:
    """Give an engine on a PostgreSQL with the desk's tables."""
    with sync_engine(postgres_database.url("psycopg")) as engine:
        yield engine


@pytest.fixture
def triggers(engine: Engine) -> Triggers:
    """Give the desk's triggers, created."""
    triggers = Triggers(new_revalidator(), TABLES, ATTACHED)
    with engine.begin() as connection:
        triggers.create(connection)
    return triggers


@pytest.fixture
def noted(engine: Engine) -> Callable[[], set[str]]:
    """Give the question what was noted since it was last asked, as in {"label 1"}; it forgets the answer."""

    def noted() -> set[str]:
        with engine.begin() as connection:
            rows = connection.execute(delete(TABLES.pending).returning(TABLES.pending.c.model, TABLES.pending.c.tenant))
            return {f"{model} {tenant}" for model, tenant in rows}

    return noted


@pytest.fixture
def run(engine: Engine) -> Callable[..., None]:
    """Give a function that runs SQL as another program would, each statement by itself."""

    def run(*statements: str, **parameters: Any) -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement), parameters)

    return run
