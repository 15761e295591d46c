"""The charts of the overview and of one pool, read from history once for all who look at them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.contracts.errors import StoreUnavailableError
from headrace.monitor import words
from headrace.monitor.charts import Chart, Line, draw
from headrace.monitor.history_views import HistoryViews, of_all_types
from headrace.monitor.views import OverviewView
from headrace.runtime.store.history import COARSE_SECONDS, FINE_SECONDS, MIDDLE_SECONDS
from headrace.runtime.store.history_values import (
    ENDED,
    LEVELS,
    Levels,
    Sample,
    add_up,
    floor_to,
    percentile_seconds,
)

KEEP_SECONDS = 5.0


@dataclass(frozen=True)
class Window:
    """A stretch of time that can be looked at, in points of `step_seconds`, read in the grain `grain`."""

    name: str
    span: timedelta
    step_seconds: int
    grain: int


WINDOWS: Final = {
    window.name: window
    for window in (
        Window("hour", timedelta(hours=1), 30, FINE_SECONDS),
        Window("day", timedelta(days=1), 900, MIDDLE_SECONDS),
        Window("week", timedelta(days=7), 7200, COARSE_SECONDS),
        Window("month", timedelta(days=30), 28_800, COARSE_SECONDS),
    )
}


@dataclass(frozen=True)
class Figures:
    """The charts of a window. `reason`: why there are none."""

    charts: Sequence[Chart] = ()
    reason: str = ""


class ChartsData:
    """Draws. Each window is read at most once in five seconds."""

    def __init__(self, history: HistoryViews, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._kept: dict[tuple[str, str | None], tuple[float, Figures]] = {}
        self._lock = asyncio.Lock()

    async def of(self, window: str, pool: str | None = None, *, view: OverviewView) -> Figures:
        """The charts of a window, of one pool or of all together. Never raises: they may be empty, and say why.

        Args:
            window: Its name.
            pool: None: all pools together.
            view: Of now: when it says that MongoDB is down, nobody need wait to find that out again.
        """
        mongo = view.part("mongodb")
        if mongo.status == "down":
            return Figures(reason=mongo.detail)
        async with self._lock:
            kept = self._kept.get((window, pool))
            if kept is None or self._clock() - kept[0] >= KEEP_SECONDS:
                if len(self._kept) > 200:
                    self._kept.clear()
                kept = self._kept[window, pool] = (self._clock(), await self._draw(WINDOWS[window], pool))
            return kept[1]

    async def _draw(self, window: Window, pool: str | None) -> Figures:
        until = floor_to(datetime.now(UTC), window.step_seconds)
        since = until - window.span
        try:
            samples = await self._history.samples(
                since=since, until=until + timedelta(seconds=window.step_seconds), step=window.grain, pool=pool
            )
        except StoreUnavailableError as error:
            return Figures(reason=error.detail)
        return Figures(draw_all(samples, window, since=since, until=until))


def draw_all(samples: Sequence[Sample], window: Window, *, since: datetime, until: datetime) -> Sequence[Chart]:
    """Draw what was read. The interval that is under way is left out of the charts."""
    step = window.step_seconds
    points = add_up(samples, step)
    moments = [since + timedelta(seconds=step * index) for index in range(int((until - since).total_seconds()) // step)]
    # An interval in which anything was sampled at all: there, what did not happen is a zero and not a gap.
    looked = {sample.at for sample in points}
    levels = _levels(points)
    counts = {sample.at: sample for sample in of_all_types(points)}

    def level(name: str) -> list[float | None]:
        found = [levels.get(at) for at in moments]
        return [None if item is None else float(getattr(item, name)) for item in found]

    def rate(*names: str) -> list[float | None]:
        return [
            (sum(counts[at].counts.get(name, 0) for name in names) / step if at in counts else 0.0)
            if at in looked
            else None
            for at in moments
        ]

    def share(of: str, part: float) -> list[float | None]:
        return [percentile_seconds(getattr(counts[at], of), part) if at in counts else None for at in moments]

    return (
        draw("Jobs", moments, [Line("waiting", level("waiting")), Line("in flight", level("in_flight"))], _whole),
        draw(
            "Jobs per second",
            moments,
            [Line("ended", rate(*ENDED)), Line("failed", rate("failed"))],
            words.number,
        ),
        draw("Time waited", moments, [Line("p50", share("wait", 0.5)), Line("p95", share("wait", 0.95))], words.span),
        draw("Time run", moments, [Line("p50", share("run", 0.5)), Line("p95", share("run", 0.95))], words.span),
    )


def _levels(points: Sequence[Sample]) -> dict[datetime, Levels]:
    """The levels of all pools, added up, by interval."""
    found: dict[datetime, list[Levels]] = {}
    for sample in points:
        if sample.levels is not None:
            found.setdefault(sample.at, []).append(sample.levels)
    return {
        at: Levels(**{name: sum(getattr(item, name) for item in items) for name in LEVELS})
        for at, items in found.items()
    }


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
