"""The last minute in numbers, of each pool and of all together: read once for everybody who looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.contracts.errors import StoreUnavailableError
from headrace.monitor.history_views import HistoryViews
from headrace.monitor.views import OverviewView
from headrace.runtime.store.history import FINE_SECONDS
from headrace.runtime.store.history_values import ENDED, Sample, add_counts, percentile_seconds

KEEP_SECONDS = 5.0
MINUTE: Final = timedelta(seconds=60)
READ_BACK: Final = timedelta(seconds=90)
"""The newest interval is some seconds old when it is written; one that is older than this says nothing of now."""


@dataclass(frozen=True)
class Recent:
    """Jobs ended per second, and durations in seconds. None: nobody looked, or nothing was measured."""

    ended_per_second: float | None = None
    wait_p95: float | None = None
    run_p95: float | None = None


UNKNOWN: Final = Recent()
ByPool = Mapping[str | None, Recent]


class Recents:
    """Reads the last minute, at most once in five seconds."""

    def __init__(self, history: HistoryViews, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._kept: tuple[float, ByPool] | None = None
        self._lock = asyncio.Lock()

    async def of(self, pool: str | None, *, view: OverviewView) -> Recent:
        """The last minute of a pool; of all together for None. Never raises.

        Args:
            pool: Its name.
            view: Of now: when it says that MongoDB is down, nobody need wait to find that out again.
        """
        if view.part("mongodb").status == "down":
            return UNKNOWN
        async with self._lock:
            if self._kept is None or self._clock() - self._kept[0] >= KEEP_SECONDS:
                self._kept = (self._clock(), await self._read())
            return self._kept[1].get(pool, UNKNOWN)

    async def _read(self) -> ByPool:
        now = datetime.now(UTC)
        try:
            samples = await self._history.samples(
                since=now - READ_BACK, until=now + timedelta(seconds=FINE_SECONDS), step=FINE_SECONDS
            )
        except StoreUnavailableError:
            return {}
        return recents_of(samples)


def recents_of(samples: Sequence[Sample]) -> ByPool:
    """The newest minute of what was read, by pool; under None of all."""
    if not samples:
        return {}
    newest = max(sample.at for sample in samples)
    minute = [sample for sample in samples if sample.at > newest - MINUTE]
    seconds = float(sum({sample.at: sample.seconds for sample in minute}.values()))
    by_pool: dict[str | None, list[Sample]] = {None: minute}
    for sample in minute:
        by_pool.setdefault(sample.pool, []).append(sample)
    return {pool: _recent(found, seconds) for pool, found in by_pool.items()}


def _recent(samples: Sequence[Sample], seconds: float) -> Recent:
    counts = add_counts(sample.counts for sample in samples)
    return Recent(
        ended_per_second=round(sum(counts.get(name, 0) for name in ENDED) / seconds, 2),
        wait_p95=percentile_seconds(add_counts(sample.wait for sample in samples), 0.95),
        run_p95=percentile_seconds(add_counts(sample.run for sample in samples), 0.95),
    )
