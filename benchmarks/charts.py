"""Charts as small SVG files, in colours that can be read on light and on dark pages alike."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.results import Growth, Row, Table

_WIDTH = 720
_LABELS = 340
"""How much of the width the names of the bars have."""
_BAR = 22
_PAPER = 260
"""The height of a line chart."""
_MARGIN = 46

_TEXT, _OURS, _OTHERS, _GRID = "#7d8590", "#2f81f7", "#9a7b4f", "#7d859055"
_LINES = ("#2f81f7", "#d9822b", "#2da44e")
_STYLE = f'font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}"'


def bars(table: Table) -> str:
    """Return a bar for the ratio of each row, from its least to its most marked by a line; the scale is logarithmic."""
    rows = [(row, row.ratio) for row in table.rows if row.ratio]
    low = min(1.0, *(ratio.least for _, ratio in rows), 1.0)
    high = max(*(ratio.most for _, ratio in rows), 2.0)
    start = 10 ** math.floor(math.log10(low)) if low < 1 else 1.0
    start = max(start, low / 2)

    def x(value: float) -> float:
        share = math.log(max(value, start) / start) / math.log(high / start)
        return _LABELS + share * (_WIDTH - _LABELS - 60)

    body = [_text(0, 14, f"{table.title}: times the first", weight=600)]
    body.append(_segment(x(1.0), 24, x(1.0), 28 + len(rows) * _BAR, _GRID))
    for number, (row, ratio) in enumerate(rows):
        top = 28 + number * _BAR
        body += [
            _text(_LABELS - 8, top + 12, _shortened(row), anchor="end"),
            _bar(x(ratio.median), top + 2, _OURS if row.is_ours else _OTHERS),
            _segment(x(ratio.least), top + 8, x(ratio.most), top + 8, _TEXT),
            _text(x(ratio.most) + 6, top + 12, f"{ratio.median:.2f}" if ratio.median < 10 else f"{ratio.median:.0f}"),
        ]
    return _svg(28 + len(rows) * _BAR + 6, body)


def lines(growth: Growth) -> str:
    """Return a line for each cost: how many times the first figure it is; both scales are logarithmic."""
    points = [point for line in growth.lines.values() for point in line]
    sizes = sorted({point.size for point in points})
    high = max(2.0, *(point.ratio.median for point in points))
    low = min(0.5, *(point.ratio.median for point in points))
    floor = 40 + 18 * len(growth.lines)

    def x(size: int) -> float:
        return _MARGIN + math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0]) * (_WIDTH - 2 * _MARGIN)

    def y(ratio: float) -> float:
        return floor + _PAPER - math.log(ratio / low) / math.log(high / low) * _PAPER

    body = [_text(0, 14, f"How costs grow {growth.title}: times the first", weight=600)]
    for ratio in _ticks(low, high):
        body += [
            _segment(_MARGIN, y(ratio), _WIDTH - _MARGIN, y(ratio), _GRID),
            _text(_MARGIN - 6, y(ratio) + 4, f"{ratio:g}", anchor="end"),
        ]
    body += [_text(x(size), floor + _PAPER + 18, f"{size:,}", anchor="middle") for size in sizes]
    for number, (name, line) in enumerate(growth.lines.items()):
        color = _LINES[number % len(_LINES)]
        path = " ".join(f"{x(point.size):.1f},{y(point.ratio.median):.1f}" for point in line)
        body += [
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>',
            *(
                f'<circle cx="{x(each.size):.1f}" cy="{y(each.ratio.median):.1f}" r="3" fill="{color}"/>'
                for each in line
            ),
            f'<rect x="{_MARGIN}" y="{26 + 18 * number}" width="10" height="10" rx="2" fill="{color}"/>',
            _text(_MARGIN + 16, 35 + 18 * number, name),
        ]
    return _svg(floor + _PAPER + 30, body)


def _ticks(low: float, high: float) -> Iterable[float]:
    return [2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]


def _shortened(row: Row, most: int = 52) -> str:
    return row.name if len(row.name) <= most else f"{row.name[: most - 1]}…"


def _bar(end: float, top: float, color: str) -> str:
    width = max(end - _LABELS, 1)
    return f'<rect x="{_LABELS}" y="{top}" width="{width:.1f}" height="12" rx="2" fill="{color}"/>'


def _text(x: float, y: float, what: str, *, anchor: str = "start", weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(what)}</text>'


def _segment(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _svg(height: int, body: Sequence[str]) -> str:
    inner = "\n".join(body)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_STYLE}>\n{inner}\n</svg>\n'
