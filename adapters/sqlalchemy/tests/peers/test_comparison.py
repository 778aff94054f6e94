"""The documentation's page of comparison, held against what both libraries do."""

from importlib.metadata import version
from pathlib import Path

import pytest
from adapters.sqlalchemy.tests.peers.judge import EXTRA, FRESH, REFUSED, STALE, judge
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.ours import CacheRevalidate
from adapters.sqlalchemy.tests.peers.scenario import Scenario
from adapters.sqlalchemy.tests.peers.suite import GROUPS, SCENARIOS
from adapters.sqlalchemy.tests.peers.theirs import AdvancedAlchemy
from tests.docs.pages import DOCS, tables

PAGE = DOCS / "comparison.md"
TABLES = {table.heading: table.rows for table in tables(PAGE) if table.first_column == "scenario"}
ROWS = {(heading, row["scenario"]): row for heading, rows in TABLES.items() for row in rows}
LIBRARIES: dict[str, type[Library]] = {"cache_revalidate": CacheRevalidate, "advanced-alchemy": AdvancedAlchemy}


def test_the_page_has_every_scenario_in_order() -> None:
    """Its tables are the suite's groups, their rows the scenarios."""
    assert list(ROWS) == [(group.heading, scenario.name) for group in GROUPS for scenario in group.scenarios]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_scenario_ends_as_the_page_says(
    request: pytest.FixtureRequest, tmp_path: Path, scenario: Scenario, library: str
) -> None:
    """What a reader sees of it is what stands in the library's column."""
    if scenario.driver == "sqlite":
        url = f"sqlite:///{tmp_path / 'desk.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_database").url(scenario.driver)
    assert judge(scenario, LIBRARIES[library], url) == ROWS[scenario.group, scenario.name][library]


def test_our_column_is_fresh_but_for_what_level_1_says_of_itself() -> None:
    """Unknown tenants are refused, raw SQL is not seen, and a COMMIT in doubt is bumped: docs/sqlalchemy.md."""
    ours = {scenario: row["cache_revalidate"] for (_, scenario), row in ROWS.items()}
    assert {scenario: seen for scenario, seen in ours.items() if seen != FRESH} == {
        "a bulk UPDATE that moves rows from tenants that it doesn't name": REFUSED,
        '`session.execute(text("UPDATE ..."))`': STALE,
        "COMMIT fails": EXTRA,
    }


def test_the_page_names_the_versions_that_were_run() -> None:
    """With other versions the tables are to be looked at again."""
    text = PAGE.read_text()
    for name in ("advanced-alchemy", "dogpile.cache", "SQLAlchemy"):
        assert f"{name} {version(name)}" in text
