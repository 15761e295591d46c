"""What changed lately, compared with Redis every few seconds: a lost push costs seconds, not a full pass."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.judge import SETTLE_MS, Drift, judge
from headrace.recovery.mend import Mender
from headrace.recovery.parts import Parts
from headrace.runtime.store.reconcile_reads import Standing

FIRST_LOOK = timedelta(seconds=120)
OVERLAP = timedelta(seconds=15)
"""A change may become visible this much later than the time it carries: a write has ten seconds, by the server."""
PAGE = 1000
MAX_PAGES = 100

log = structlog.get_logger(__name__)


class RecentDuty:
    """Reads the changes since its last look, by the index on `updated_at`, and mends what Redis does not show."""

    name = "recent"
    seconds = 5.0

    def __init__(self, parts: Parts, mender: Mender) -> None:
        self._parts = parts
        self._mender = mender
        self._seen_until: datetime | None = None

    def begin_anew(self) -> None:
        """Look at the last two minutes again: the leadership is new."""
        self._seen_until = None

    async def run_once(self) -> Counts:
        """Go through the changes, at most `MAX_PAGES` pages; the rest is the next pass's.

        Raises:
            StoreUnavailableError: A store does not answer; the same changes are looked at again.
        """
        counts = Counts()
        until = await self._parts.reconcile.now() - timedelta(milliseconds=SETTLE_MS)
        after = until - FIRST_LOOK if self._seen_until is None else self._seen_until - OVERLAP
        counts += await self._compare(await self._parts.reconcile.running(after=after))
        for _ in range(MAX_PAGES):
            page = await self._parts.reconcile.changed(after=after, until=until, limit=PAGE)
            counts += await self._compare(page.standings)
            if page.last is None:
                self._seen_until = until
                break
            after = page.last
        else:
            self._seen_until = after + OVERLAP  # too many: go on exactly here
        if counts:
            log.warning("recovery.drift_mended", by=self.name, **counts)
        return counts

    async def _compare(self, standings: list[Standing]) -> Counts:
        by_pool: dict[str, list[Standing]] = defaultdict(list)
        for standing in standings:
            by_pool[standing.pool or ""].append(standing)
        counts = Counts()
        for pool, here in by_pool.items():
            drifts = await find_drift(self._parts, pool, here)
            counts += await self._mender.mend(pool, drifts)
        return counts


async def find_drift(parts: Parts, pool: str, standings: list[Standing]) -> list[Drift]:
    """The differences about these jobs, each confirmed by a second look at its document.

    The first look is older than the one at Redis, and a job that moved on between the two is no drift.
    """
    now_ms = await parts.queue.time_ms()
    located = {found.id: found for found in await parts.queue.locate(pool, [standing.id for standing in standings])}
    suspected = [item.id for item in standings if judge(pool, item, located[item.id], now_ms=now_ms) is not None]
    if not suspected:
        return []
    again = await parts.reconcile.standings(suspected)
    drifts = [judge(pool, standing, located[standing.id], now_ms=now_ms) for standing in again]
    return [drift for drift in drifts if drift is not None]
