"""Writes what a run has found: Markdown, charts and JSON, into `build/bench` or into the docs."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import charts, markdown
from benchmarks.environments import REPOSITORY
from benchmarks.results import Part

BUILD = REPOSITORY / "build/bench"
DOCS = REPOSITORY / "docs/bench"
DOCS_CHARTS = REPOSITORY / "docs/_static/bench"


def write(parts: Sequence[Part], facts: dict[str, str], folder: Path, charts_folder: Path) -> None:
    """Write a file for each part, one of the goals, one of the facts, the charts, and all of it as `results.json`.

    Where pages show charts, `charts_folder` lies as `_static/bench` lies to them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    charts_folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (folder / f"{part.name}.md").write_text(markdown.part(part, charts="_static/bench"))
        for table in part.tables:
            if table.name:
                (charts_folder / f"{table.name}.svg").write_text(charts.bars(table))
        for growth in part.growths:
            (charts_folder / f"{growth.name}.svg").write_text(charts.lines(growth))
    (folder / "goals.md").write_text(markdown.goals(parts))
    (folder / "facts.md").write_text("\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n")
    results = {"facts": facts, "parts": [dataclasses.asdict(part) for part in parts]}
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
