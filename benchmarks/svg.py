"""Line charts as SVG text: panels below each other that share the time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 720, 130, 62, 16, 34, 40
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve: x in seconds; `stepped` keeps a value until the next."""

    name: str
    points: Points
    stepped: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves with a common scale; `limit` is drawn as a dashed line."""

    title: str
    lines: Sequence[Line] = field(default_factory=list)
    limit: float | None = None


def draw(title: str, panels: Sequence[Panel]) -> str:
    """The picture as text."""
    height = TOP + len(panels) * (PANEL + GAP)
    end = max((x for panel in panels for line in panel.lines for x, _ in line.points), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" fill="#57606a">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="14" fill="#24292f">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + GAP), end)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, top: int, end: float) -> list[str]:
    most = max([y for line in panel.lines for _, y in line.points] + [panel.limit or 0.0, 1e-9])
    step = nice_step(most / 4)
    scale = math.ceil(most / step) * step
    bottom = top + PANEL

    def x(value: float) -> str:
        return f"{LEFT + value / end * (WIDTH - LEFT - RIGHT):.1f}"

    def y(value: float) -> str:
        return f"{bottom - value / scale * (PANEL - 18):.1f}"

    parts = [f'<text x="{LEFT}" y="{top + 8}" fill="#24292f">{escape(panel.title)}</text>']
    for index in range(round(scale / step) + 1):
        level = index * step
        parts.append(f'<path d="M{LEFT} {y(level)}H{WIDTH - RIGHT}" stroke="#eaeef2"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(level)}" dy="4" text-anchor="end">{level:,.6g}</text>')
    tick = nice_step(end / 8)
    parts += [
        f'<text x="{x(index * tick)}" y="{bottom + 14}" text-anchor="middle">{index * tick:.6g} s</text>'
        for index in range(int(end / tick) + 1)
    ]
    if panel.limit is not None:
        parts.append(f'<path d="M{LEFT} {y(panel.limit)}H{WIDTH - RIGHT}" stroke="#57606a" stroke-dasharray="4 4"/>')
    for index, line in enumerate(panel.lines):
        colour = COLOURS[index % len(COLOURS)]
        path = ""
        for place, (at, value) in enumerate(line.points):
            path += (
                f"M{x(at)} {y(value)}"
                if place == 0
                else f"H{x(at)}V{y(value)}"
                if line.stepped
                else f"L{x(at)} {y(value)}"
            )
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        place = WIDTH - RIGHT - 110 * (len(panel.lines) - index - 1)
        parts.append(f'<text x="{place}" y="{top + 8}" text-anchor="end" fill="{colour}">{escape(line.name)}</text>')
    return parts


def nice_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
