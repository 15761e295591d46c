"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from headrace.contracts.job import Priority
from headrace.monitor.sources import COUNT_CAP

DASH = "\N{EN DASH}"


def count(value: int | None) -> str:
    """A count that may have been cut off: `9,312`, `10k+`, or a dash."""
    if value is None:
        return DASH
    return f"{COUNT_CAP // 1000}k+" if value >= COUNT_CAP else f"{value:,}"


def number(value: float | None) -> str:
    """An exact number, or a dash."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")


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


def span(seconds: float | None) -> str:
    """A measured duration, short ones in milliseconds: `4 ms`, `0.35 s`, `12 s`, `3.5 h`."""
    if seconds is None:
        return DASH
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    return age(seconds)


def between(begin: datetime | None, end: datetime | None) -> float | None:
    """The seconds from one moment to another; None where one is not known."""
    return None if begin is None or end is None else max(0.0, (end - begin).total_seconds())


def since(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment was."""
    return age(between(moment, now))


def clock(moment: datetime) -> str:
    """A moment in full, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(text: str, limit: int = 160) -> str:
    """The beginning of a long text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def size(octets: int | None) -> str:
    """Bytes in the unit that fits."""
    if octets is None:
        return DASH
    if octets < 1024:
        return f"{octets} B"
    if octets < 1024**2:
        return f"{octets / 1024:.0f} KiB"
    return f"{octets / 1024**2:.0f} MiB"


def percent(share: float) -> str:
    """A share of one in whole percent."""
    return f"{share * 100:.0f} %"


def priority(rank: int) -> str:
    """The word for a stored priority."""
    return Priority.of_rank(rank).value


def plural(value: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 job`, `2 jobs`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "count": count,
    "number": number,
    "age": age,
    "span": span,
    "between": between,
    "since": since,
    "clock": clock,
    "short": short,
    "size": size,
    "percent": percent,
    "priority": priority,
    "plural": plural,
}
"""For the templates."""
