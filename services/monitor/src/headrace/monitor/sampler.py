"""Writes history: every ten seconds how full each pool is, and what happened to the jobs of each type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from headrace.monitor.overview import Overview
from headrace.monitor.views import PoolView
from headrace.runtime.store.database import Database
from headrace.runtime.store.history import FINE_SECONDS, History
from headrace.runtime.store.history_reads import LAG, Activity, HistoryReads
from headrace.runtime.store.history_values import Levels, Sample, floor_to

LOOK_SECONDS = 2.0
MOST_LATE = timedelta(seconds=60)
"""Intervals that are missed for longer, while MongoDB was away, stay empty."""

ActivityByType = Mapping[tuple[str, str], Activity]
log = structlog.get_logger(__name__)


class Sampler:
    """The duty. Several monitors may run it: an interval that is there already is not written again.

    Args:
        overview: Where the levels come from.
        database: Where history is kept and jobs are read.
        heard: Called with what happened in each interval, once per interval in this process.
    """

    def __init__(self, overview: Overview, database: Database, *, heard: Callable[[ActivityByType], None]) -> None:
        self._overview = overview
        self._database = database
        self._history = History(database)
        self._reads = HistoryReads(database)
        self._heard = heard
        self._is_ensured = False
        self._next: datetime | None = None

    async def run_once(self) -> int:
        """Take the intervals that are over. Returns how many.

        Raises:
            StoreUnavailableError: MongoDB does not answer; they are taken later.
        """
        length = timedelta(seconds=FINE_SECONDS)
        now = await self._database.now()
        end = floor_to(now - LAG, FINE_SECONDS)
        if self._next is None:
            self._next = end  # what was before this process started is not its to tell
        begin = max(self._next, end - MOST_LATE)
        taken = 0
        while begin < end:
            # Levels are of now: an interval that is taken late has none.
            await self._take(begin, with_levels=begin + length == end)
            begin = self._next = begin + length
            taken += 1
        return taken

    async def _take(self, begin: datetime, *, with_levels: bool) -> None:
        activity = await self._reads.activity(begin, begin + timedelta(seconds=FINE_SECONDS))
        pools = (await self._overview.picture()).view.pools if with_levels else []
        if not self._is_ensured:
            await self._history.ensure()
            self._is_ensured = True
        if not await self._history.read(FINE_SECONDS, since=begin, until=begin + timedelta(seconds=FINE_SECONDS)):
            await self._history.write([*_levels(begin, pools), *_counts(begin, activity)])
        self._heard(activity)


def _levels(at: datetime, pools: list[PoolView]) -> list[Sample]:
    return [
        Sample(
            at=at,
            seconds=FINE_SECONDS,
            pool=pool.name,
            levels=Levels(
                high=pool.waiting["high"],
                medium=pool.waiting["medium"],
                low=pool.waiting["low"],
                delayed=pool.delayed or 0,
                in_flight=pool.in_flight or 0,
                oldest_seconds=pool.oldest_waiting_seconds or 0,
                busy=pool.slots.busy,
                slots=pool.slots.total,
                workers=pool.workers,
            ),
        )
        for pool in pools
        if pool.waiting is not None
    ]


def _counts(at: datetime, activity: ActivityByType) -> list[Sample]:
    return [
        Sample(at=at, seconds=FINE_SECONDS, pool=pool, type=type_, counts=found.counts, wait=found.wait, run=found.run)
        for (pool, type_), found in sorted(activity.items())
    ]
