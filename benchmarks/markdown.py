"""What parts have found, as Markdown."""

from collections.abc import Iterable, Iterator

from benchmarks.results import Goal, Growth, Part, Row, Table
from benchmarks.rounds import Spread

NOT_BUILT = ("the browser client's size",)
"""Rows of the goals that are for parts of the library that do not exist yet."""


def part(found: Part, *, charts: str | None = None) -> str:
    """Return a part's tables, under a heading; `charts` is the folder of its charts, for those that have one."""
    blocks = [f"### {found.title}"]
    for table in found.tables:
        blocks.append(_table(table))
        if charts and table.name:
            blocks.append(f"![{table.title}]({charts}/{table.name}.svg)")
    for growth in found.growths:
        blocks.append(_growth(growth))
        if charts:
            blocks.append(f"![{growth.title}]({charts}/{growth.name}.svg)")
    blocks += found.notes
    if found.missing:
        blocks.append("\n".join(["Not measured:", "", *(f"- {reason}" for reason in found.missing)]))
    return "\n\n".join(blocks) + "\n"


def goals(parts: Iterable[Part]) -> str:
    """Return the table of all goals, what is missed as well as what is met."""
    lines = ["| goal | limit | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {goal.what} | {'≥' if goal.at_least else '≤'} {_figure(goal.limit)}{_unit(goal)} "
        f"| {_figure(goal.measured)}{_unit(goal)} | {'PASS' if goal.is_met else '**MISS**'} |"
        for found in parts
        for goal in found.goals
    ]
    lines += [f"| {what} | | | not built yet |" for what in NOT_BUILT]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> str:
    has_ratios = any(row.ratio for row in table.rows)
    head = [table.title, table.unit, *(["ratio", "min to max"] if has_ratios else ["min to max"])]
    lines = [_line(head), _line(["---", *["--:"] * (len(head) - 1)])]
    lines += [_line(_cells(row, has_ratios=has_ratios)) for row in table.rows]
    return "\n".join(lines)


def _cells(row: Row, *, has_ratios: bool) -> Iterator[str]:
    name = f"**{row.name}**" if row.is_ours else row.name
    yield f"{name} ({row.note})" if row.note else name
    yield _figure(row.value.median)
    if has_ratios and row.ratio:
        yield _figure(row.ratio.median)
        yield _range(row.ratio)
    elif not has_ratios:
        yield _range(row.value)


def _growth(growth: Growth) -> str:
    sizes = [point.size for point in next(iter(growth.lines.values()))]
    lines = [
        _line([growth.title, *(f"{size:,}" for size in sizes)]),
        _line(["---", *["--:"] * len(sizes)]),
    ]
    lines += [
        _line([f"**{name}**", *(_figure(point.ratio.median) for point in points)])
        for name, points in growth.lines.items()
    ]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _unit(goal: Goal) -> str:
    return f" {goal.unit}" if goal.unit else ""


def _range(spread: Spread) -> str:
    return f"{_figure(spread.least)} to {_figure(spread.most)}"


def _figure(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    if value == int(value) and abs(value) < 1_000:
        return f"{int(value)}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"
