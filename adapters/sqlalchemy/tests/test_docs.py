"""The documentation's page on SQLAlchemy."""

import asyncio
import re
from pathlib import Path
from textwrap import dedent

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "sqlalchemy.md"
_BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its Python blocks are one program, whose assertions hold."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    names: dict[str, object] = {"__name__": "page"}
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) > 10
    for block in blocks:
        line = text.count("\n", 0, block.start()) + 1
        code = "\n" * line + dedent(block[2])
        exec(compile(code, str(PAGE), "exec"), names)
    names["attachment"].detach()  # type: ignore[attr-defined]
    names["async_attachment"].detach()  # type: ignore[attr-defined]
    names["engine"].dispose()  # type: ignore[attr-defined]
    assert asyncio.iscoroutinefunction(names["rename"])
