"""The two tables of the durable level, in the app's own database.

A version row holds the token of one (tenant, model). A pending row says that a transaction touched the pair: it is
written by that transaction, and deleted by the fold that makes the pair's next token. In PostgreSQL a function that
folds is created and dropped with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, event
from sqlalchemy.dialects.mysql import VARCHAR

from cache_revalidate import ConfigurationError
from cache_revalidate_sqlalchemy.function import CreateFold, DropFold

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSIONS: Final = "cache_revalidate_versions"
PENDING: Final = "cache_revalidate_pending"


@dataclass(frozen=True, slots=True)
class Tables:
    """The durable level's tables in one `MetaData`."""

    versions: Table
    pending: Table

    def create_function(self, connection: Connection) -> None:
        """Create the function that folds in one round trip, in PostgreSQL; for tables that were made without it.

        `connection` is a synchronous one, and its transaction is the caller's; an `AsyncConnection` has `run_sync`.
        """
        if connection.dialect.name == "postgresql":
            connection.execute(CreateFold(self.versions, self.pending))


def add_tables(metadata: MetaData, *, schema: str | None = None) -> Tables:
    """Add the durable level's two tables to `metadata`, so that `create_all` and Alembic make them with the app's own.

    They are made once: a second call returns those that are there. `schema` is a PostgreSQL schema (on MySQL, a
    database) for them; by default that of `metadata`. Raises `ConfigurationError` if `metadata` has another table of
    one of the names, `cache_revalidate_versions` and `cache_revalidate_pending`.
    """
    if not isinstance(metadata, MetaData):
        raise ConfigurationError(
            f"add_tables was given a {type(metadata).__name__}: pass the app's MetaData, Base.metadata say."
        )
    schema = schema or metadata.schema
    found = [metadata.tables.get(f"{schema}.{name}" if schema else name) for name in (VERSIONS, PENDING)]
    if found[0] is not None and found[1] is not None and _is_ours(found[0]) and _is_ours(found[1]):
        return Tables(found[0], found[1])
    if any(table is not None for table in found):
        raise ConfigurationError(
            f"The MetaData has a table named {VERSIONS} or {PENDING} that add_tables did not make (reflected, say): "
            "call add_tables before reflecting, or give it a MetaData of its own."
        )
    versions = Table(
        VERSIONS,
        metadata,
        _key("namespace", 64, primary_key=True),
        _key("model", 64, primary_key=True),
        _key("tenant", 128, primary_key=True),
        _key("token", 20),
        schema=schema,
        info={"cache_revalidate": True},
        # Room on each page for the row's next version: a fold's update then leaves the index alone.
        postgresql_with={"fillfactor": "80"},
    )
    pending = Table(
        PENDING,
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        _key("namespace", 64),
        _key("model", 64),
        _key("tenant", 128),
        Index(f"ix_{PENDING}", "namespace", "model", "tenant"),
        schema=schema,
        info={"cache_revalidate": True},
        # SQLite gives a deleted row's id to the next one, and rows are deleted by their ids after they were forwarded.
        sqlite_autoincrement=True,
        # Its rows come and go all the time: have them cleaned up long before a fifth of the table is dead.
        postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "1000"},
    )
    create, drop = CreateFold(versions, pending), DropFold(versions)
    for happening, element in (("after_create", create), ("after_drop", drop)):
        event.listen(versions, happening, element.execute_if(dialect="postgresql"), propagate=True)
    return Tables(versions, pending)


def _key(name: str, length: int, *, primary_key: bool = False) -> Column[str]:
    # Two tenants that a collation takes for one another would share a token on one side and not on the other.
    ascii_bytes = VARCHAR(length, charset="ascii", collation="ascii_bin")
    kind: Any = (
        String(length)
        .with_variant(String(length, collation="C"), "postgresql")
        .with_variant(ascii_bytes, "mysql", "mariadb")
    )
    return Column(name, kind, primary_key=primary_key, nullable=False)


def _is_ours(table: Table) -> bool:
    return bool(table.info.get("cache_revalidate"))
