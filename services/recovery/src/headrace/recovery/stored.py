"""Jobs that were taken while Redis was away or full, pushed now that it answers."""

from __future__ import annotations

import structlog

from headrace.contracts.states import JobState
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.runtime.queue import Entry
from headrace.runtime.store.reconcile_reads import Standing

PAGE = 1000
MAX_PAGES = 50

log = structlog.get_logger(__name__)


class StoredDuty:
    """Pushes the jobs marked `indexed: false`, then takes the mark away."""

    name = "stored"
    seconds = 1.0

    def __init__(self, parts: Parts, pools: Pools) -> None:
        self._parts = parts
        self._pools = pools

    async def run_once(self) -> Counts:
        """Push a bounded number of each pool's jobs."""
        return await self._pools.each(self._push)

    async def _push(self, pool: str) -> Counts:
        counts = Counts()
        for _ in range(MAX_PAGES):
            ids = await self._parts.reads.unindexed(pool, limit=PAGE)
            if not ids:
                break
            standings = await self._parts.reconcile.standings(ids)
            counts["stored"] += await self._parts.queue.enqueue(pool, _entries(standings))
            # Claimed straight from MongoDB, or over: no push is needed any more, only the mark must go.
            await self._parts.jobs.mark_indexed(ids)
            if len(ids) < PAGE:
                break
        counts += Counts()  # drops a zero
        if counts:
            log.info("recovery.stored_pushed", pool=pool, count=counts["stored"])
        return counts


def _entries(standings: list[Standing]) -> list[Entry]:
    return [Entry(item.id, item.score, item.run_at_ms) for item in standings if item.state is JobState.QUEUED]
