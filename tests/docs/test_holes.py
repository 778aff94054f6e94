"""The page on Chatwoot's holes names, for each, a test that there is."""

import ast
import re

import pytest

from tests.docs.pages import DOCS, REPOSITORY, rows

HOLES = rows(DOCS / "holes.md", "#")


def test_the_page_has_all_of_them() -> None:
    """There are nineteen, in order."""
    assert [row["#"] for row in HOLES] == [str(number) for number in range(1, 20)]


@pytest.mark.parametrize("hole", HOLES, ids=lambda row: row["#"])
def test_each_has_a_test_or_an_issue(hole: dict[str, str]) -> None:
    """The tests named are in the files named; what is not closed yet names the issue that will."""
    named = re.findall(r"`([\w/.]+\.py)::(\w+)`", hole["test"])
    assert named or re.search(r"issue \d", hole["test"])
    for file, test in named:
        tree = ast.parse((REPOSITORY / file).read_text())
        assert test in {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }, f"{file} has no {test}"
