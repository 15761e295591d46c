"""What one interval of a pool's or a job type's life looked like, and how intervals are added up. Pure.

Durations are kept as counts in buckets, not as percentiles: buckets of many intervals can be added up, percentiles
cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

K = TypeVar("K")

BUCKETS_PER_DOUBLING = 4
"""A bucket is 19 % wide, so a percentile is off by 9 % at most."""

COUNTS = ("submitted", "claimed", "completed", "failed", "cancelled", "retried", "handed_back")
"""What is counted: transitions. `retried`: a failed attempt or one that ran too long, with another to come;
`handed_back`: a claim that ended without a failure, because its worker stopped or died."""
ENDED = ("completed", "failed", "cancelled")
"""Those of them that end a job."""


@dataclass(frozen=True)
class Levels:
    """How much was where at the end of an interval, or on average over several. Jobs, seconds, slots, services."""

    high: float = 0
    medium: float = 0
    low: float = 0
    delayed: float = 0
    in_flight: float = 0
    oldest_seconds: float = 0
    busy: float = 0
    slots: float = 0
    workers: float = 0

    @property
    def waiting(self) -> float:
        """Due jobs that wait, of every priority."""
        return self.high + self.medium + self.low


LEVELS = tuple(Levels.__dataclass_fields__)


@dataclass(frozen=True)
class Sample:
    """One interval.

    Attributes:
        at: When it began; a whole multiple of `seconds` since 1970.
        seconds: How long it is: 10, 300 or 3600.
        pool: The pool.
        type: The job type that `counts`, `wait` and `run` are of. None: the pool's own levels, and no counts.
        counts: Transitions, by the names of `COUNTS`; absent = none.
        wait: From being due to being claimed, of claims in the interval: bucket → count.
        run: From the start of the last attempt to the job's end, of ends in the interval: bucket → count.
        levels: Of a pool; None where they could not be read, and for a type.
        peaks: The largest levels; None where `levels` is.
    """

    at: datetime
    seconds: int
    pool: str
    type: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    wait: Mapping[int, int] = field(default_factory=dict)
    run: Mapping[int, int] = field(default_factory=dict)
    levels: Levels | None = None
    peaks: Levels | None = None


def floor_to(moment: datetime, seconds: int) -> datetime:
    """The beginning of the interval that a moment lies in."""
    return moment - timedelta(seconds=moment.timestamp() % seconds)


def add_up(samples: Iterable[Sample], seconds: int) -> list[Sample]:
    """Longer intervals out of shorter ones: counts and durations added, levels averaged, peaks kept.

    Args:
        samples: Of any pools and types, in any order, none twice.
        seconds: The length of the new intervals.

    Returns:
        One sample for each pool, type and interval of which there was any, in the order of time.
    """
    groups: dict[tuple[datetime, str, str | None], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((floor_to(sample.at, seconds), sample.pool, sample.type), []).append(sample)
    return [
        Sample(
            at=at,
            seconds=seconds,
            pool=pool,
            type=type_,
            counts=add_counts(sample.counts for sample in found),
            wait=add_counts(sample.wait for sample in found),
            run=add_counts(sample.run for sample in found),
            levels=_mean([sample.levels for sample in found if sample.levels is not None]),
            peaks=_peak([sample.peaks or sample.levels for sample in found if sample.levels is not None]),
        )
        for (at, pool, type_), found in sorted(groups.items(), key=_in_order)
    ]


def _in_order(group: tuple[tuple[datetime, str, str | None], list[Sample]]) -> tuple[datetime, str, str]:
    at, pool, type_ = group[0]
    return at, pool, type_ or ""


def add_counts(many: Iterable[Mapping[K, int]]) -> dict[K, int]:
    """Counts, key by key."""
    total: Counter[K] = Counter()
    for counts in many:
        total.update(counts)
    return dict(total)


def percentile_seconds(buckets: Mapping[int, int], share: float) -> float | None:
    """A percentile of durations, in seconds, to about 9 %; None when there are none.

    Args:
        buckets: Bucket → count.
        share: From 0 to 1; 0.5 is the median.
    """
    total = sum(buckets.values())
    if not total:
        return None
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= share * total:
            break
    return float(f"{bucket_seconds(bucket):.3g}")


def bucket_seconds(bucket: int) -> float:
    """The middle of a bucket."""
    return float(2 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING)) / 1000 if bucket > 0 else 0.001


def _mean(levels: Sequence[Levels]) -> Levels | None:
    if not levels:
        return None
    return Levels(**{name: round(sum(getattr(item, name) for item in levels) / len(levels), 2) for name in LEVELS})


def _peak(levels: Sequence[Levels | None]) -> Levels | None:
    known = [item for item in levels if item is not None]
    return Levels(**{name: max(getattr(item, name) for item in known) for name in LEVELS}) if known else None
