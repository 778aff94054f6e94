"""The documentation's pages on SQLAlchemy."""

import asyncio
import re
from pathlib import Path
from textwrap import dedent

import pytest

DOCS = Path(__file__).parents[3] / "docs"
_BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def run_page(name: str) -> dict[str, object]:
    """Run a page's Python blocks as one program, in order; return its names."""
    page = DOCS / name
    text = page.read_text()
    names: dict[str, object] = {"__name__": "page"}
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        exec(compile("\n" * line + dedent(block[2]), str(page), "exec"), names)
    return names


def test_the_page_on_sqlalchemy_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its Python blocks are one program, whose assertions hold."""
    monkeypatch.chdir(tmp_path)
    names = run_page("sqlalchemy.md")
    names["attachment"].detach()  # type: ignore[attr-defined]
    names["async_attachment"].detach()  # type: ignore[attr-defined]
    names["engine"].dispose()  # type: ignore[attr-defined]
    assert asyncio.iscoroutinefunction(names["rename"])


def test_the_page_on_consistency_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So are those of the page on consistency."""
    monkeypatch.chdir(tmp_path)
    assert asyncio.iscoroutinefunction(run_page("consistency.md")["main"])
