"""What `GET /v1/history` answers, and how it is drawn from samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from headrace.contracts.api import View
from headrace.contracts.values import Timestamp
from headrace.runtime.store.database import Database
from headrace.runtime.store.history import COARSE_SECONDS, FINE_SECONDS, FINER, MIDDLE_SECONDS, History
from headrace.runtime.store.history_values import (
    COUNTS,
    ENDED,
    Sample,
    add_counts,
    add_up,
    floor_to,
    percentile_seconds,
)

LONGEST_OF = {
    FINE_SECONDS: timedelta(hours=3),
    MIDDLE_SECONDS: timedelta(days=4),
    COARSE_SECONDS: timedelta(days=366),
}
"""The longest stretch that is drawn in each grain, so that an answer has some thousand points per series at most."""
TAIL = timedelta(hours=2)
"""How far back intervals are added up here that recovery has not added up yet."""


class DurationsView(View):
    """Percentiles in seconds, to about 9 %; null where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


class LevelsPoint(View):
    """How full a pool was in one interval: the average, and of waiting and in flight the peak too."""

    at: Timestamp
    high: float
    medium: float
    low: float
    delayed: float
    in_flight: float
    oldest_waiting_seconds: float
    slots_busy: float
    slots_total: float
    workers: float
    peak_waiting: float
    peak_in_flight: float


class CountsPoint(View):
    """What happened in one interval."""

    at: Timestamp
    submitted: int
    claimed: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    handed_back: int
    throughput_per_second: float
    wait_seconds: DurationsView
    run_seconds: DurationsView


class SeriesView(View):
    """A pool (`type` null) or one type in it. A point that is missing: nothing happened, or nobody looked."""

    pool: str
    type: str | None
    levels: list[LevelsPoint]
    counts: list[CountsPoint]


class HistoryAnswer(View):
    """Series by pool and type, each point the beginning of an interval of `step_seconds`."""

    since: Timestamp
    until: Timestamp
    step_seconds: int
    series: list[SeriesView]


def step_for(span: timedelta) -> int:
    """The finest grain in which a stretch may be drawn."""
    return next((step for step, longest in LONGEST_OF.items() if span <= longest), COARSE_SECONDS)


class HistoryViews:
    """Reads history in any grain; what recovery has not added up yet is added up on the way."""

    def __init__(self, database: Database) -> None:
        self._history = History(database)

    async def samples(
        self, *, since: datetime, until: datetime, step: int, pool: str | None = None, type_: str | None = None
    ) -> list[Sample]:
        """Samples of a grain that begin in `[since, until)`.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        found = await self._history.read(step, since=since, until=until, pool=pool, type_=type_)
        finer = FINER.get(step)
        if finer is None:
            return found
        newest = await self._history.newest(step, not_before=floor_to(until - TAIL, step))
        begin = newest + timedelta(seconds=step) if newest else max(floor_to(until - TAIL, step), since)
        if begin >= until:
            return found
        # Straight from the finest: the middle grain may not have been added up either.
        tail = await self._history.read(FINE_SECONDS, since=begin, until=until, pool=pool, type_=type_)
        return found + add_up(tail, step)

    async def answer(
        self, *, since: datetime, until: datetime, step: int, pool: str | None, type_: str | None
    ) -> HistoryAnswer:
        """The series of the API."""
        samples = await self.samples(since=since, until=until, step=step, pool=pool, type_=type_)
        return HistoryAnswer(since=since, until=until, step_seconds=step, series=series_of(samples))


def series_of(samples: Sequence[Sample]) -> list[SeriesView]:
    """Series for each pool and each type; a pool's counts are those of its types together."""
    by_pool: defaultdict[str, list[Sample]] = defaultdict(list)
    by_type: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        by_pool[sample.pool].append(sample)
        if sample.type is not None:
            by_type[sample.pool, sample.type].append(sample)
    whole = [
        SeriesView(
            pool=pool,
            type=None,
            levels=[_levels(item) for item in found if item.levels is not None],
            counts=[_counts(item) for item in of_all_types(found, pool)],
        )
        for pool, found in by_pool.items()
    ]
    each = [
        SeriesView(pool=pool, type=type_, levels=[], counts=[_counts(item) for item in found])
        for (pool, type_), found in by_type.items()
    ]
    return sorted([*whole, *each], key=lambda series: (series.pool, series.type or ""))


def of_all_types(samples: Iterable[Sample], pool: str | None = None) -> list[Sample]:
    """What happened to jobs of whatever type, interval by interval; of one pool or of all."""
    found: dict[datetime, list[Sample]] = {}
    for sample in samples:
        if sample.type is not None and (pool is None or sample.pool == pool):
            found.setdefault(sample.at, []).append(sample)
    return [
        Sample(
            at=at,
            seconds=items[0].seconds,
            pool=pool or "",
            counts=add_counts(item.counts for item in items),
            wait=add_counts(item.wait for item in items),
            run=add_counts(item.run for item in items),
        )
        for at, items in sorted(found.items())
    ]


def _levels(sample: Sample) -> LevelsPoint:
    levels = sample.levels
    assert levels is not None
    peaks = sample.peaks or levels
    return LevelsPoint(
        at=sample.at,
        high=levels.high,
        medium=levels.medium,
        low=levels.low,
        delayed=levels.delayed,
        in_flight=levels.in_flight,
        oldest_waiting_seconds=levels.oldest_seconds,
        slots_busy=levels.busy,
        slots_total=levels.slots,
        workers=levels.workers,
        peak_waiting=peaks.waiting,
        peak_in_flight=peaks.in_flight,
    )


def _counts(sample: Sample) -> CountsPoint:
    counts = {name: sample.counts.get(name, 0) for name in COUNTS}
    ended = sum(counts[name] for name in ENDED)
    return CountsPoint(
        at=sample.at,
        **counts,
        throughput_per_second=round(ended / sample.seconds, 3),
        wait_seconds=durations(sample.wait),
        run_seconds=durations(sample.run),
    )


def durations(buckets: Mapping[int, int]) -> DurationsView:
    """The percentiles that are shown."""
    return DurationsView(
        p50=percentile_seconds(buckets, 0.5),
        p95=percentile_seconds(buckets, 0.95),
        p99=percentile_seconds(buckets, 0.99),
    )
