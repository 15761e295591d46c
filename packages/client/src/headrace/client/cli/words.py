"""Text for people: ages, amounts, and strangers' text made harmless for a terminal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.states import JobState

# What moves the cursor, rings, sets colours or turns the reading order around: jobs may print anything.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = 80

STATE_STYLES = {
    JobState.QUEUED: "default",
    JobState.PROCESSING: "cyan",
    JobState.COMPLETED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "yellow",
}


def clean(text: str, *, one_line: bool = False, limit: int | None = None) -> str:
    """The text with what could act on a terminal written out: an escape becomes a backslash and `x1b`.

    Args:
        text: Anything.
        one_line: Write line ends and tabs as spaces.
        limit: Cut to so many characters.
    """
    safe = _UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
    if one_line:
        safe = " ".join(safe.split())
    if limit is not None and len(safe) > limit:
        safe = safe[: limit - 1] + "…"
    return safe


def as_json(value: Any, *, limit: int | None = None) -> str:
    """A JSON value for people: indented unless it is short, cut to `limit` characters."""
    short = json.dumps(value, ensure_ascii=False)
    return clean(short if len(short) <= _SHORT else json.dumps(value, indent=2, ensure_ascii=False), limit=limit)


def span(seconds: float) -> str:
    """A duration in its largest fitting unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(0.0, seconds) * 1000:.0f} ms"


def age(moment: datetime | None) -> str:
    """How long ago a moment was, or in how long it comes; empty for None."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"in {span(-seconds)}" if seconds < -0.5 else f"{span(seconds)} ago"


def moment_text(moment: datetime | None) -> str:
    """A moment in UTC to the second, and its age; empty for None."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}Z ({age(moment)})"


def bar(fraction: float, width: int = 16) -> str:
    """A progress bar of characters."""
    full = round(min(1.0, max(0.0, fraction)) * width)
    return "█" * full + "░" * (width - full)


def spark(values: list[float]) -> str:
    """A line of small bars; the highest value is the full height."""
    top = max(values, default=0.0)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(value / top * 7.999))] if top > 0 else "▁" for value in values)
