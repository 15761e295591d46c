"""Charts as values: coordinates for an SVG, and the same in words for those who do not see it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headrace.monitor.words import DASH

WIDTH, HEIGHT = 600, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 22
TABLE_ROWS = 12


@dataclass(frozen=True)
class Line:
    """One line: its name, and a value per point of the chart; None where nothing is known."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Drawn:
    """A line as it is drawn. `style` is 1, 2, 3: colour and dash in the style sheet."""

    name: str
    style: int
    path: str
    last: str


@dataclass(frozen=True)
class Chart:
    """A chart for the template."""

    title: str
    summary: str
    lines: Sequence[Drawn]
    y_ticks: Sequence[tuple[float, str]]
    x_ticks: Sequence[tuple[float, str]]
    hovers: Sequence[tuple[float, float, str]]
    rows: Sequence[tuple[datetime, Sequence[str]]]
    is_empty: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(title: str, moments: Sequence[datetime], lines: Sequence[Line], words: Callable[[float], str]) -> Chart:
    """A chart of lines over time.

    Args:
        title: What it shows.
        moments: The points in time, equally far apart.
        lines: A value for each moment.
        words: A value with its unit.
    """
    known = [value for line in lines for value in line.values if value is not None]
    top = _nice(max(known, default=0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(moments) - 1)

    def x(index: int) -> float:
        return round(LEFT + index * step, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)

    return Chart(
        title=title,
        summary=_summary(title, lines, words),
        lines=[
            Drawn(line.name, number, _path(line.values, x, y), _last(line.values, words))
            for number, line in enumerate(lines, start=1)
        ],
        y_ticks=[(y(share * top), words(share * top)) for share in (0, 0.5, 1)],
        x_ticks=[(x(index), label) for index, label in _time_labels(moments)],
        hovers=[
            (round(x(i) - step / 2, 1), round(step, 1), _at(moments[i], i, lines, words)) for i in range(len(moments))
        ],
        rows=_rows(moments, lines, words),
        is_empty=not known,
    )


def _path(values: Sequence[float | None], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    pieces: list[str] = []
    pen_down = False
    for index, value in enumerate(values):
        if value is None:
            pen_down = False
            continue
        pieces.append(f"{'L' if pen_down else 'M'}{x(index):g} {y(value):g}")
        alone = not pen_down and (index + 1 == len(values) or values[index + 1] is None)
        if alone:
            pieces.append("h1")  # a point with nothing beside it would not be seen
        pen_down = True
    return "".join(pieces)


def _nice(largest: float) -> float:
    """The end of the scale: 1, 2 or 5 times a power of ten, not below the largest value."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= largest * 0.999)


def _time_labels(moments: Sequence[datetime]) -> list[tuple[int, str]]:
    if len(moments) < 2:
        return []
    whole = moments[-1] - moments[0]
    form = "%H:%M" if whole <= timedelta(days=1, hours=1) else "%d %b"
    last = len(moments) - 1
    return [
        (round(last * share), moments[round(last * share)].astimezone(UTC).strftime(form))
        for share in (0.25, 0.5, 0.75)
    ]


def _last(values: Sequence[float | None], words: Callable[[float], str]) -> str:
    value = next((value for value in reversed(values) if value is not None), None)
    return _word(value, words)


def _word(value: float | None, words: Callable[[float], str]) -> str:
    return DASH if value is None else words(value)


def _at(moment: datetime, index: int, lines: Sequence[Line], words: Callable[[float], str]) -> str:
    values = ", ".join(f"{line.name} {_word(line.values[index], words)}" for line in lines)
    return f"{moment.astimezone(UTC):%d %b %H:%M:%S} UTC: {values}"


def _summary(title: str, lines: Sequence[Line], words: Callable[[float], str]) -> str:
    parts = []
    for line in lines:
        known = [value for value in line.values if value is not None]
        if known:
            parts.append(f"{line.name} from {words(min(known))} to {words(max(known))}, at the end {words(known[-1])}")
    return f"{title}: " + ("; ".join(parts) if parts else "nothing was measured")


def _rows(
    moments: Sequence[datetime], lines: Sequence[Line], words: Callable[[float], str]
) -> list[tuple[datetime, list[str]]]:
    """The latest points of about a dozen, for the table beside the picture."""
    stride = max(1, math.ceil(len(moments) / TABLE_ROWS))
    picked = range(len(moments) - 1, -1, -stride)
    return [(moments[i], [_word(line.values[i], words) for line in lines]) for i in picked]
