"""Jobs that were taken while Redis was away or full, pushed now that it answers."""

from __future__ import annotations

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.runtime.queue import Entry

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
            stored = await self._parts.reconcile.stored(pool, limit=PAGE)
            if stored:
                entries = [Entry(item.id, item.score, item.run_at_ms) for item in stored]
                counts["stored"] += await self._parts.queue.enqueue(pool, entries)
                await self._parts.jobs.mark_indexed([item.id for item in stored])
            if len(stored) < PAGE:
                break
        counts += Counts()  # drops a zero
        if counts:
            log.info("recovery.stored_pushed", pool=pool, count=counts["stored"])
        return counts
