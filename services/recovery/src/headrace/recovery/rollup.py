"""The history of pools grows coarser with age: samples of ten seconds become intervals of five minutes, those of hours.

Each grain forgets by its own age (`runtime.store.history`), so nothing is deleted here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.runtime.store.history import COARSE_SECONDS, FINER, KEPT_DAYS, MIDDLE_SECONDS, History
from headrace.runtime.store.history_values import add_up, floor_to

LATE = timedelta(seconds=90)
"""A sample may be written this long after its interval ended; an interval that is added up is not looked at again."""
STRETCH = 12
"""Intervals that are added up together: an hour of samples, half a day of five minutes."""
MAX_STRETCHES = 30
"""Enough for all that the finer grain keeps: a new leader catches up in one pass."""

log = structlog.get_logger(__name__)


class RollupDuty:
    """Adds up what is complete and not added up yet.

    Two at once may write an interval twice, with the same numbers: readers take one of them.
    """

    name = "rollup"
    seconds = 60.0

    def __init__(self, parts: Parts) -> None:
        self._reconcile = parts.reconcile
        self._history = History(parts.database)
        self._is_prepared = False
        self._done: dict[int, datetime] = {}

    async def run_once(self) -> Counts:
        """Add up at most `MAX_STRETCHES` stretches of each grain.

        Raises:
            StoreUnavailableError: MongoDB does not answer; the rest is the next pass's.
        """
        if not self._is_prepared:
            await self._history.ensure()
            self._is_prepared = True
        now = await self._reconcile.now()
        until = now - LATE
        written = 0
        for seconds in (MIDDLE_SECONDS, COARSE_SECONDS):
            until = floor_to(until, seconds)
            written += await self._add_up(seconds, now=now, until=until)
            until = self._done[seconds]  # the coarser grain is made of what this one has by now
        return +Counts({"history_rolled_up": written})

    async def _add_up(self, seconds: int, *, now: datetime, until: datetime) -> int:
        start = await self._start(seconds, now)
        written = 0
        for _ in range(MAX_STRETCHES):
            self._done[seconds] = start
            if start >= until:
                break
            end = min(start + timedelta(seconds=STRETCH * seconds), until)
            finer = await self._history.read(FINER[seconds], since=start, until=end)
            samples = add_up(finer, seconds)
            await self._history.write(samples)
            written += len(samples)
            self._done[seconds] = start = end
        return written

    async def _start(self, seconds: int, now: datetime) -> datetime:
        """The first interval that is not added up: behind the newest that is stored, and behind what was empty."""
        oldest = floor_to(now - timedelta(days=KEPT_DAYS[FINER[seconds]]), seconds)
        newest = await self._history.newest(seconds, not_before=oldest)
        stored = oldest if newest is None else newest + timedelta(seconds=seconds)
        return max(stored, self._done.get(seconds, oldest))
