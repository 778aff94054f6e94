"""Transactions of our own, on a connection that has none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

# A fold waits for another of the same pair, which takes milliseconds, unless its process was stopped meanwhile. Its
# own commit need not reach the disk before it returns: a fold that is lost in a crash is made again.
_POSTGRES_SETTINGS: Final = select(
    func.set_config("lock_timeout", "3s", True), func.set_config("synchronous_commit", "off", True)
)


@contextmanager
def fold_transaction(connection: Connection) -> Iterator[None]:
    """Run a fold's statements, each of which sees what was committed before it."""
    _read_committed(connection)
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(_POSTGRES_SETTINGS)
        yield


@contextmanager
def single_statement(connection: Connection) -> Iterator[None]:
    """Run one statement, where the database allows it without the round trips of a transaction around it."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        _read_committed(connection)
    with connection.begin():
        yield


def _read_committed(connection: Connection) -> None:
    """Have the next transaction see in each statement what was committed before it; in SQLite no two write at once."""
    # No public call tells the level that an engine was made with. To set it anew is four round trips in MySQL.
    level = connection.get_execution_options().get("isolation_level", connection.dialect._on_connect_isolation_level)
    if connection.dialect.name != "sqlite" and level != "READ COMMITTED":
        connection.execution_options(isolation_level="READ COMMITTED")
