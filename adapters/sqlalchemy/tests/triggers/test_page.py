"""The documentation's page on triggers."""

from typing import Any

from tests.docs.pages import DOCS, blocks
from tests.support.fixtures import PostgresDatabase


def test_the_page_runs(postgres_database: PostgresDatabase) -> None:
    """Its Python blocks are one program, whose assertions hold, on a PostgreSQL in place of the page's."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(DOCS / "triggers.md"):
        if block.language == "python":
            code = block.code.replace("postgresql+psycopg://localhost/desk", postgres_database.url("psycopg"))
            exec(compile(code, str(block), "exec"), names)
    names["engine"].dispose()
