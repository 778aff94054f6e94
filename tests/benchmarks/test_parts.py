"""Every part of the benchmark runs, at its smallest size and with the contestants that are at hand."""

import sys
from pathlib import Path
from typing import cast

import pytest
from benchmarks.bench import Bench, Size
from benchmarks.environments import Environments
from benchmarks.parts import PARTS, load
from benchmarks.progress import Progress

from benchmarks import __main__ as door
from benchmarks import lineup, markdown

MEASURED = frozenset(
    {lineup.BARE, lineup.OURS, lineup.constant("Starlette"), lineup.in_chain_name("Starlette")},
)
SMALLEST = Size(
    rounds=1, operations=2, seconds=1, servers=("uvicorn",), largest=100, connections=20, held=40, only=MEASURED
)


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_runs(name: str) -> None:
    """It measures something; all contestants but those that are not installed give the right answers."""
    found = await load(name)(Bench(SMALLEST, Environments(Path(sys.executable)), Progress()))
    assert found.tables or found.growths
    assert all(table.rows for table in found.tables)
    assert [reason for reason in found.missing if "is not installed" not in reason] == []
    assert markdown.part(found).startswith(f"### {found.title}")


def test_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make bench PARTS=unmatched QUICK=1` prints the tables and the goals, and writes them."""
    assert door.main(["unmatched", "--quick", "--output", str(tmp_path)]) == 0
    assert "the middleware, with ten declared routes" in capsys.readouterr().out
    assert (tmp_path / "unmatched.md").exists()
    assert (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--allow-missing"], 0)])
def test_a_part_that_fails_is_said(
    options: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The others run, and the exit code is 1 because something was not measured, unless that is allowed."""
    monkeypatch.setitem(cast("dict[str, str]", PARTS), "broken", "there_is_no_such_module")
    assert door.main(["broken", "unmatched", "--quick", "--output", str(tmp_path), *options]) == code
    printed = capsys.readouterr()
    assert "not measured: the part broken: No module named" in printed.err
    assert "the middleware, with ten declared routes" in printed.out


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is an error that names the parts that there are."""
    with pytest.raises(SystemExit):
        door.main(["conditionals"])
    assert "no part is called conditionals: there are conditional, chain" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["unmatched", "--docs"], ["--quick", "--docs"]])
def test_the_docs_are_written_by_a_full_run_alone(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of a smoke run can't get into the docs."""
    with pytest.raises(SystemExit):
        door.main(arguments)
    assert "by a full run alone" in capsys.readouterr().err
