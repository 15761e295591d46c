"""Ended jobs are kept within `JOB_RETENTION_BYTES`: above it the oldest go, before their age would have them go."""

from __future__ import annotations

import structlog

from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.crawl_leftovers import CrawlLeftovers
from headrace.runtime.store.retention import Retention

BATCH = 1000
HEAVY_BATCH = 20
"""Of jobs with results or logs besides their documents: what those weigh is known when they are gone."""
MAX_BATCHES = 20
MAX_LEFTOVERS = 20_000
KEEP_SECONDS = 3600.0
"""An ended job stays for so long, whatever it takes: its result and its idempotency key are still asked for."""

log = structlog.get_logger(__name__)


class RetentionDuty:
    """Removes the oldest ended jobs with their crawl results and logs while all jobs together are above the limit.

    Never removes a job that is not over, one that ended less than `KEEP_SECONDS` ago, or a dead letter that is kept for
    ever; so the limit may stay exceeded, which `stored_bytes` and a warning show. A kill between the two removals
    leaves results without a job, which `CrawlDataDuty` finds.
    """

    name = "retention"
    seconds = 10.0

    def __init__(self, parts: Parts) -> None:
        self.limit_bytes = parts.config.retention_bytes
        """0: no limit."""
        self.stored_bytes = 0
        """As of the last pass; measured without a limit too."""
        self._retention = Retention(parts.database)
        self._leftovers = CrawlLeftovers(parts.database)
        self._unfinished: list[str] = []
        self._was_stuck = False

    async def run_once(self) -> Counts:
        """Remove up to `BATCH * MAX_BATCHES` jobs and about `MAX_LEFTOVERS` documents of their results.

        Raises:
            StoreUnavailableError: MongoDB does not answer; what was removed stays removed.
        """
        removed = 0
        budget = await self._remove_leftovers(MAX_LEFTOVERS)
        for _ in range(MAX_BATCHES):
            # Measured for every batch, and not while results of removed jobs still weigh.
            if self._unfinished:
                break
            self.stored_bytes = await self._retention.stored_bytes()
            excess = self.stored_bytes - self.limit_bytes
            if not self.limit_bytes or excess <= 0:
                self._was_stuck = False
                break
            chosen, is_heavy = await self._choose(excess)
            if not chosen:
                self._warn()
                break
            await afp("between_retention_look_and_delete")
            removed += await self._retention.remove(chosen)
            if is_heavy:
                self._unfinished = chosen
                budget = await self._remove_leftovers(budget)
        if removed:
            log.info("recovery.jobs_removed", count=removed, bytes=self.stored_bytes, limit=self.limit_bytes)
        return +Counts({"job_removed": removed})

    async def _choose(self, excess: int) -> tuple[list[str], bool]:
        """The oldest jobs whose documents weigh what is too much, and whether anything else belongs to them."""
        chosen: list[str] = []
        for job_id, size in await self._retention.oldest(ended_before_seconds=KEEP_SECONDS, limit=BATCH):
            if excess <= 0:
                break
            chosen.append(job_id)
            excess -= size
        if not chosen or not await self._leftovers.are_between(min(chosen), max(chosen)):
            return chosen, False
        return chosen[:HEAVY_BATCH], True

    async def _remove_leftovers(self, budget: int) -> int:
        """Remove what belonged to the jobs that are removed; returns what is left of the budget."""
        while self._unfinished and budget > 0:
            removed = await self._leftovers.remove(self._unfinished[0], limit=budget)
            budget -= removed
            if budget > 0:
                self._unfinished.pop(0)
        return budget

    def _warn(self) -> None:
        if not self._was_stuck:
            log.warning(
                "recovery.retention_stuck",
                bytes=self.stored_bytes,
                limit=self.limit_bytes,
                hint="what is left is pending, ended within the hour, or a dead letter: replay or discard these",
            )
        self._was_stuck = True
