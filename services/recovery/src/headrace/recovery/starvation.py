"""Jobs that have waited too long go to the front, whatever their priority (`JOB_STARVATION_SECONDS`)."""

from __future__ import annotations

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.runtime.queue import Entry

PAGE = 1000
MAX_PAGES = 10
MIN_SECONDS, MAX_SECONDS = 1.0, 10.0

log = structlog.get_logger(__name__)


class StarvationDuty:
    """Lifts jobs that have been due for `JOB_STARVATION_SECONDS` to the front rank; 0 turns it off.

    Such a job is lifted at most `seconds` after its time, up to `PAGE * MAX_PAGES` of a pool and priority per pass,
    oldest first. From then on only jobs of the front rank that are older are claimed before it.
    """

    name = "starvation"

    def __init__(self, parts: Parts, pools: Pools) -> None:
        self._parts = parts
        self._pools = pools
        self._limit_seconds = parts.config.starvation_seconds
        self.seconds = min(max(self._limit_seconds / 10, MIN_SECONDS), MAX_SECONDS)
        """Between two passes: a tenth of the limit, from one to ten seconds."""

    async def run_once(self) -> Counts:
        """Look at every pool once."""
        return await self._pools.each(self._lift) if self._limit_seconds else Counts()

    async def _lift(self, pool: str) -> Counts:
        counts = Counts()
        now = await self._parts.reconcile.now()
        for _ in range(MAX_PAGES):
            lifted = await self._parts.jobs.boost(
                pool, waited_seconds=self._limit_seconds, now_ms=int(now.timestamp() * 1000), limit=PAGE
            )
            if not lifted:
                break
            counts["boosted"] += len(lifted)
            try:
                # Ids that were claimed meanwhile are passed over; reconcile sees to what a failure leaves.
                await self._parts.queue.rescore(pool, [Entry(job_id, score) for job_id, score in lifted])
            except StoreUnavailableError as error:
                log.warning("recovery.boosted_not_moved", pool=pool, count=len(lifted), error=error.detail)
            if len(lifted) < PAGE:
                break
        if counts:
            log.info("recovery.jobs_boosted", pool=pool, count=counts["boosted"])
        return counts
