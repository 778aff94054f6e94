"""Tenants are compared byte by byte, whatever the database's own collation makes of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from adapters.sqlalchemy.tests.desk import MODELS, TABLES, sync_engine
from sqlalchemy import Engine, create_engine, text

from cache_revalidate import MemoryStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, ledger

if TYPE_CHECKING:
    from tests.support.servers import MariaDBServer, PostgresServer

TENANTS = ["B", "_x", "a", "A", "~", "10", "9", "b.c", "b-c"]


@pytest.fixture(params=["postgresql", "mariadb"])
def folding(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Give a database whose own collation sorts as people do, or takes upper case for lower."""
    name = f"test_{uuid.uuid4().hex}"
    server: PostgresServer | MariaDBServer
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        made, driver = f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'", "psycopg"
        admin = create_engine(server.url(driver, "postgres"), isolation_level="AUTOCOMMIT")
    else:
        server = request.getfixturevalue("mariadb_server")
        made, driver = f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "pymysql"
        admin = create_engine(server.url(driver, ""), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(made))
    admin.dispose()
    with sync_engine(server.url(driver, name)) as engine:
        yield engine
    server.drop_database(name)


def test_each_tenant_has_its_own_token(folding: Engine) -> None:
    """A bump of one is no bump of another that the collation takes for it."""
    revalidator = Revalidator(MODELS, DurableStore(folding, TABLES))
    before = revalidator.sync.fold_many({key: ["label"] for key in TENANTS})
    revalidator.sync.bump("a", "label")
    after = revalidator.sync.fold_many({key: ["label"] for key in TENANTS})
    assert {tenant for tenant in TENANTS if after[tenant] != before[tenant]} == {"a"}


def test_pages_of_tenants_leave_none_out(folding: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies of every tenant are raised, page by page, in an order on which Python and the database agree."""
    monkeypatch.setattr(ledger, "_AT_ONCE", 2)
    copy = MemoryStore()
    revalidator = Revalidator(MODELS, DurableStore(folding, TABLES, copy))
    revalidator.sync.fold_many({key: ["label"] for key in TENANTS})
    before = copy.raise_tokens_sync(revalidator.keyspace, {tenant: {"label": "0" * 20} for tenant in TENANTS})
    revalidator.sync.bump_many({"*": ["label"]})
    after = copy.raise_tokens_sync(revalidator.keyspace, {tenant: {"label": "0" * 20} for tenant in TENANTS})
    assert all(after[tenant]["label"] > before[tenant]["label"] for tenant in TENANTS)
