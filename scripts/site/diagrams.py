"""The diagrams of our pages as SVG: the few forms of Mermaid that they use, without its program and without a network.

Where a node stands is written in the diagram itself, as a comment that Mermaid leaves out::

    %% place: queued 1 0

columns to the right, rows downwards, fractions allowed. A form that is not known here is an error, so no page can
show a diagram that was understood by halves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape

COLUMN, ROW, MARGIN = 190, 100, 30
HEIGHT, LETTER = 36, 7.4
_PLACE = re.compile(r"%% place: (\S+) (-?[\d.]+) (-?[\d.]+)")
_STATE = re.compile(r"(\S+) --> (\S+?)(?:: (.+))?")
_LINK = re.compile(r"(?P<source>.+?) (?:-- \"(?P<label>.*?)\" -->|-\. (?P<dotted>.*?) \.->) (?P<targets>.+)")
_NODE = re.compile(r"(?P<name>\w+)(?:[\[(]+(?P<text>.*?)[\])]+)?")


@dataclass
class Diagram:
    """Nodes with their places, and labelled edges between them."""

    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    edges: list[tuple[str, str, str, bool]] = field(default_factory=list)
    """From, to, label, dotted."""


@dataclass(frozen=True)
class Box:
    """Where a node is drawn."""

    x: float
    y: float
    width: float
    height: float

    def border(self, dx: float, dy: float) -> tuple[float, float]:
        """Where the way from its centre in this direction leaves it."""
        scale = min(self.width / 2 / abs(dx) if dx else 1e9, self.height / 2 / abs(dy) if dy else 1e9)
        return self.x + dx * scale, self.y + dy * scale


def read(source: str) -> Diagram:
    """A diagram of ours.

    Raises:
        ValueError: A line is of no known form, or a node has no place.
    """
    kind, *lines = [line.strip() for line in source.strip().splitlines()]
    if kind not in {"stateDiagram-v2", "flowchart LR"}:
        raise ValueError(f"scripts/site/diagrams.py draws no {kind!r}")
    diagram = Diagram()
    for line in lines:
        if place := _PLACE.fullmatch(line):
            diagram.places[place[1]] = float(place[2]), float(place[3])
        elif kind == "flowchart LR" and (link := _LINK.fullmatch(line)):
            start = _node(diagram, link["source"])
            for target in link["targets"].split(" & "):
                label = link["label"] or link["dotted"]
                diagram.edges.append((start, _node(diagram, target), label, link["dotted"] is not None))
        elif kind == "stateDiagram-v2" and (step := _STATE.fullmatch(line)):
            ends = [_node(diagram, name) for name in (step[1], step[2]) if name != "[*]"]
            if len(ends) == 2:
                diagram.edges.append((ends[0], ends[1], step[3] or "", False))
        else:
            raise ValueError(f"scripts/site/diagrams.py does not know: {line}")
    if lost := diagram.texts.keys() - diagram.places.keys():
        raise ValueError(f"add a line '%% place: NAME COLUMN ROW' for {', '.join(sorted(lost))}")
    return diagram


def _node(diagram: Diagram, text: str) -> str:
    found = _NODE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"scripts/site/diagrams.py does not know the node: {text}")
    name = found["name"]
    if found["text"] or name not in diagram.texts:
        diagram.texts[name] = (found["text"] or name).split("<br/>")
    return name


def svg(source: str) -> str:
    """The diagram as one SVG element without a blank line, so that Markdown passes it through."""
    diagram = read(source)
    left = min(x for x, _ in diagram.places.values())
    top = min(y for _, y in diagram.places.values())
    boxes = {
        name: Box(MARGIN + 65 + (x - left) * COLUMN, MARGIN + 20 + (y - top) * ROW, *_size(diagram.texts[name]))
        for name, (x, y) in diagram.places.items()
    }
    width = max(box.x for box in boxes.values()) + 65 + MARGIN
    height = max(box.y for box in boxes.values()) + 20 + MARGIN
    pairs = {(start, end) for start, end, *_ in diagram.edges}
    parts = [
        _edge(boxes[start], boxes[end], label, dotted=dotted, both_ways=(end, start) in pairs)
        for start, end, label, dotted in diagram.edges
    ]
    parts += [_node_at(boxes[name], lines) for name, lines in diagram.texts.items()]
    return "\n".join(
        [
            f'<svg class="diagram" role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px">',
            f"<title>{escape('; '.join(f'{a} to {b}: {label}' for a, b, label, _ in diagram.edges))}</title>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
            *parts,
            "</svg>",
        ]
    )


def _size(lines: list[str]) -> tuple[float, float]:
    return max(70.0, max(map(len, lines)) * LETTER + 24), HEIGHT + 16 * (len(lines) - 1)


def _node_at(box: Box, lines: list[str]) -> str:
    corner = f'x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}"'
    shape = f'<rect {corner} width="{box.width:.1f}" height="{box.height:.1f}" rx="8"/>'
    return f'<g class="node">{shape}{_text(box.x, box.y, lines)}</g>'


def _text(x: float, y: float, lines: list[str]) -> str:
    first = y - 8 * (len(lines) - 1) + 4.5
    return "".join(
        f'<text x="{x:.1f}" y="{first + 16 * number:.1f}">{escape(line)}</text>' for number, line in enumerate(lines)
    )


def _edge(start: Box, end: Box, label: str, *, dotted: bool, both_ways: bool) -> str:
    dx, dy = end.x - start.x, end.y - start.y
    length = (dx * dx + dy * dy) ** 0.5
    aside = 11 if both_ways else 0  # two opposite edges lie beside each other, each on its right hand
    off_x, off_y = -dy / length * aside, dx / length * aside
    (x1, y1), (x2, y2) = ((x + off_x, y + off_y) for x, y in (start.border(dx, dy), end.border(-dx, -dy)))
    line = f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" marker-end="url(#arrow)"/>'
    words = _wrap(label)
    # Nearer to its start than to its end, so that labels of edges that cross do not meet at the crossing.
    at, push = (0.5, (4 + 8 * len(words)) / 11) if both_ways else (0.42, 0)
    shown = _text(x1 + (x2 - x1) * at + off_x * push, y1 + (y2 - y1) * at + off_y * push, words) if label else ""
    return f'<g class="edge{" dotted" * dotted}">{line}{shown}</g>'


def _wrap(label: str, limit: int = 24) -> list[str]:
    lines = [""]
    for word in label.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > limit:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
