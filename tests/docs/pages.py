"""What stands in a Markdown page: its code blocks and its tables."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"

_FENCE = re.compile(r"^```(?P<language>[a-z]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+)$")


@dataclass(frozen=True)
class Block:
    """A fenced code block, and the heading that it stands under."""

    page: Path
    line: int
    heading: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


@dataclass(frozen=True)
class Table:
    """A table, and the heading that it stands under; each row has its cells by column."""

    heading: str
    first_column: str
    rows: list[dict[str, str]]


def blocks(page: Path) -> list[Block]:
    """Return the page's fenced code blocks that name a language, in order."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 2,
            _heading_before(text[: found.start()]),
            found["language"],
            found["code"],
        )
        for found in _FENCE.finditer(text)
    ]


def tables(page: Path) -> list[Table]:
    """Return the page's tables, in order."""
    found: list[Table] = []
    heading = ""
    columns: list[str] = []
    for line in page.read_text().splitlines():
        if match := _HEADING.match(line):
            heading = match[2]
        elif not line.startswith("|"):
            columns = []
        elif not columns:
            columns = _cells(line)
            found.append(Table(heading, columns[0], []))
        elif not line.startswith("|-"):
            found[-1].rows.append(dict(zip(columns, _cells(line), strict=True)))
    return found


def rows(page: Path, first_column: str) -> list[dict[str, str]]:
    """Return the rows of the page's one table that begins with this column."""
    (table,) = (table for table in tables(page) if table.first_column == first_column)
    return table.rows


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _heading_before(text: str) -> str:
    outside_code = _FENCE.sub("", text)
    headings = [match[2] for line in outside_code.splitlines() if (match := _HEADING.match(line))]
    return headings[-1] if headings else ""
