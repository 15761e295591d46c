"""Ids in Redis that have no document: removed only after they were seen twice, ten seconds apart.

A primary that was deposed and does not know it yet can show "no document" for a job that exists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts

APART_SECONDS = 10.0
MAX_SUSPECTS = 100_000
"""More ghosts than this are found again by the next pass."""
BATCH = 1000

log = structlog.get_logger(__name__)


class Suspects:
    """Ids that had no document when they were seen first: (pool, id) → monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first_seen: dict[tuple[str, str], float] = {}

    def add(self, pool: str, ids: Iterable[str]) -> None:
        """Note ids that were seen without a document. The first time counts."""
        now = self._clock()
        for job_id in ids:
            if len(self._first_seen) < MAX_SUSPECTS:
                self._first_seen.setdefault((pool, job_id), now)

    def take_ripe(self, *, limit: int = BATCH) -> dict[str, list[str]]:
        """Ids seen first at least `APART_SECONDS` ago, by pool, oldest first; they are suspects no longer."""
        latest = self._clock() - APART_SECONDS
        ripe: dict[str, list[str]] = {}
        for (pool, job_id), first_seen in list(self._first_seen.items())[:limit]:
            if first_seen > latest:
                break  # in the order they were added
            ripe.setdefault(pool, []).append(job_id)
            del self._first_seen[pool, job_id]
        return ripe

    def __len__(self) -> int:
        return len(self._first_seen)


class GhostDuty:
    """Looks a second time at ids without a document, and removes them."""

    name = "ghosts"
    seconds = 5.0

    def __init__(self, parts: Parts, suspects: Suspects) -> None:
        self._parts = parts
        self._suspects = suspects

    async def run_once(self) -> Counts:
        """Remove the suspects that still have no document. What a failure leaves is suspected anew later."""
        counts = Counts()
        for pool, ids in self._suspects.take_ripe().items():
            standings = await self._parts.reconcile.standings(ids)
            gone = [standing.id for standing in standings if standing.state is None]
            if gone:
                counts["ghost"] += await self._parts.queue.remove(pool, gone)
        if counts:
            log.warning("recovery.ghosts_removed", count=counts["ghost"])
        return counts
