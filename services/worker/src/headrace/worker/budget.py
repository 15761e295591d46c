"""How many jobs to claim now: pure arithmetic, so that strict priority can be reasoned about.

A claim takes what free slots can run at once, plus at most what they will have run within the horizon, judged by the
95th percentile of measured run times. Jobs longer than the horizon are claimed one per slot, when that is about to be
free, and a more urgent job waits behind claimed ones for no more than about the horizon. With horizon 0 the order is
exact.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

KNOWN_RUNS = 50
"""Below this many measured runs nothing is claimed ahead."""
WINDOW = 512
MAX_AHEAD_PER_SLOT = 64
MAX_UNSETTLED = 4000
"""Ended jobs whose settlement MongoDB has not confirmed. At this many the child stops claiming."""
STALE_FACTOR = 5
STALE_FLOOR_SECONDS = 0.2


class RunTimes:
    """The last run times of a pool in this child."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._total = 0
        self._p95: float | None = None

    def add(self, seconds: float) -> None:
        """Note one run."""
        self._seconds.append(seconds)
        self._total += 1
        if self._total % 32 == 0:
            self._p95 = None  # a percentile a few runs old is good enough, and sorting at each run is not free

    @property
    def total(self) -> int:
        """How many runs were noted in all."""
        return self._total

    def p95(self) -> float | None:
        """The 95th percentile in seconds; None while too few runs are known."""
        if self._total < KNOWN_RUNS:
            return None
        if self._p95 is None:
            ordered = sorted(self._seconds)
            self._p95 = ordered[int(len(ordered) * 0.95)] if ordered else None
        return self._p95


def ends_soon(
    started: Iterable[float], *, now: float, horizon_seconds: float, p95_seconds: float | None
) -> tuple[int, float]:
    """How many running jobs are expected to end within the horizon, and when to look again.

    A job is expected to run for as long as 95 of a hundred do at most. One that has run longer may run for any time, so
    nothing is claimed in its place.

    Args:
        started: When each of them began, by the clock of `now`.
        now: The time.
        horizon_seconds: How far ahead may be claimed.
        p95_seconds: Measured run time, None = unknown.

    Returns:
        The number, and the seconds until it may be larger (infinite when no other job is running within its time).
    """
    if p95_seconds is None or horizon_seconds <= 0:
        return 0, math.inf
    left = [since + p95_seconds - now for since in started]
    later = [seconds - horizon_seconds for seconds in left if seconds > horizon_seconds]
    return sum(0 <= seconds <= horizon_seconds for seconds in left), min(later, default=math.inf)


def claim_budget(
    *,
    slots: int,
    running: int,
    waiting: int,
    unsettled: int,
    horizon_seconds: float,
    p95_seconds: float | None,
    ending: int = 0,
    blocked: int = 0,
) -> int:
    """How many ids to ask for.

    Args:
        slots: Jobs that may run at once.
        running: Jobs that run.
        waiting: Claimed jobs that wait for a thread.
        unsettled: Ended jobs whose settlement is not confirmed.
        horizon_seconds: How far ahead may be claimed; 0 = not at all.
        p95_seconds: Measured run time, None = unknown.
        ending: Running jobs that are expected to end within the horizon.
        blocked: Running jobs that have run for longer than the horizon. Nobody knows when they end, so nothing is
            claimed ahead for their slots.
    """
    if unsettled >= MAX_UNSETTLED:
        return 0
    ahead = 0
    if horizon_seconds > 0 and p95_seconds is not None:
        per_slot = horizon_seconds / p95_seconds if p95_seconds > 0 else MAX_AHEAD_PER_SLOT
        ahead = max(int(min(per_slot, MAX_AHEAD_PER_SLOT)) * max(0, slots - blocked), ending)
    return max(0, slots - running + ahead - waiting)


def stale_after_seconds(horizon_seconds: float) -> float:
    """A claimed job that has not started for this long goes back: it waits behind a long one here."""
    return max(STALE_FACTOR * horizon_seconds, STALE_FLOOR_SECONDS)
