"""What is printed and drawn of the figures."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.results import Goal, Growth, Part, Point, compared
from benchmarks.rounds import Samples, Spread
from benchmarks.wrk import LoadError, answered

from benchmarks import charts, markdown, report

SAMPLES = Samples({"base": [1.0, 2.0, 4.0], "us & <them>": [3.0, 2.0, 8.0]})
TABLE = compared("a thing", SAMPLES, "base", unit="µs", name="thing", ours=["us & <them>"])
GROWTH = Growth("with size", "sizes", {"a cost": [Point(1, Spread(1, 1, 1)), Point(10, Spread(3, 2, 4))]}, "sizes")


def part() -> Part:
    """Return a part with one of each."""
    goals = [Goal("cheap", 1.5, 2.0, unit="µs"), Goal("fast", 1.5, 2.0, at_least=True)]
    missing = ["a peer: it is not installed"]
    return Part("things", "Things", tables=[TABLE], growths=[GROWTH], goals=goals, missing=missing)


def test_tables_show_medians_and_ranges() -> None:
    """A row has the median of a contestant, and the median, least and most of its ratios by round."""
    assert "| base | 2 | 1 | 1 to 1 |" in markdown.part(part())
    assert "| **us & <them>** | 3 | 2 | 1 to 3 |" in markdown.part(part())


def test_growth_shows_each_size() -> None:
    """A row has a cost's ratio at each size."""
    assert "| **a cost** | 1 | 3 |" in markdown.part(part())


def test_goals_that_are_missed_are_printed() -> None:
    """Each goal says whether it is met, and rows of what is not built yet are there."""
    printed = markdown.goals([part()])
    assert "| cheap | ≤ 1.50 µs | 2 µs | **MISS** |" in printed
    assert "| fast | ≥ 1.50 | 2 | PASS |" in printed
    assert printed.count("not built yet") == len(markdown.NOT_BUILT)


def test_who_is_missing_is_printed() -> None:
    """A contestant that could not be had is named, with the reason."""
    assert "- a peer: it is not installed" in markdown.part(part())


@pytest.mark.parametrize("drawn", [charts.bars(TABLE), charts.lines(GROWTH)], ids=["bars", "lines"])
def test_charts_are_well_formed(drawn: str) -> None:
    """A chart is an XML document whose texts are escaped."""
    texts = [text.text for text in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"us & <them>", "a cost"} & set(texts)


def test_all_is_written(tmp_path: Path) -> None:
    """There is a file for each part and each chart, and JSON with every figure."""
    report.write([part()], {"machine": "this"}, tmp_path, tmp_path / "charts")
    assert {file.name for file in tmp_path.rglob("*.*")} == {
        "things.md",
        "goals.md",
        "facts.md",
        "results.json",
        "thing.svg",
        "sizes.svg",
    }
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["parts"][0]["tables"][0]["rows"][1]["ratio"] == {"median": 2.0, "least": 1.0, "most": 3.0}


def test_answers_are_counted() -> None:
    """The count of the answers is wrk's own."""
    assert answered("  Latency ...\n  41245 requests in 1.10s, 3.21MB read\n") == 41_245


@pytest.mark.parametrize(
    "printed",
    [
        "  12 requests in 1.10s\n  Non-2xx or 3xx responses: 12\n",
        "  12 requests in 1.10s\n  Socket errors: connect 0, read 1, write 0, timeout 0\n",
        "  0 requests in 1.10s\n",
        "",
    ],
)
def test_failures_under_load_are_errors(printed: str) -> None:
    """A figure is not taken where requests failed."""
    with pytest.raises(LoadError):
        answered(printed)
