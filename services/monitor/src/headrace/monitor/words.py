"""Figures as people read them."""

from __future__ import annotations

from datetime import datetime

from headrace.monitor.sources import COUNT_CAP

DASH = "\N{EN DASH}"


def count(value: int | None) -> str:
    """A count that may have been cut off: `9,312`, `10k+`, or a dash."""
    if value is None:
        return DASH
    return f"{COUNT_CAP // 1000}k+" if value >= COUNT_CAP else f"{value:,}"


def number(value: int | None) -> str:
    """An exact number, or a dash."""
    return DASH if value is None else f"{value:,}"


def age(seconds: float | None) -> str:
    """A span in the unit that fits it: `4 s`, `12 min`, `3.5 h`, `2.1 d`."""
    if seconds is None:
        return DASH
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def since(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment was."""
    return DASH if moment is None else age(max(0.0, (now - moment).total_seconds()))


def short(text: str, limit: int = 160) -> str:
    """The beginning of a long text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
