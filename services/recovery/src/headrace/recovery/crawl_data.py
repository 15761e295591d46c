"""Crawl results leave with their jobs: retention removes the job's document, this the pages behind it."""

from __future__ import annotations

import structlog

from headrace.contracts.errors import OutcomeUnknownError
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.runtime.store.crawl_leftovers import COLLECTIONS, CrawlLeftovers

LOOKS = 200
MAX_REMOVED = 20_000

log = structlog.get_logger(__name__)


class CrawlDataDuty:
    """Walks the jobs that have crawl results, round and round, and removes what belongs to no job.

    Safe beside running crawls: a worker stores pages of a job only after a majority has the job's document, and only
    documents of ended jobs expire. What a worker that was declared dead writes late goes in a later round.
    """

    name = "crawl_data"
    seconds = 60.0

    def __init__(self, parts: Parts) -> None:
        self._leftovers = CrawlLeftovers(parts.database)
        self._last = dict.fromkeys(COLLECTIONS, "")

    async def run_once(self) -> Counts:
        """Look at `LOOKS` jobs of each collection and remove up to `MAX_REMOVED` documents."""
        removed = 0
        for collection in COLLECTIONS:
            job_ids = await self._leftovers.jobs_after(collection, self._last[collection], limit=LOOKS)
            for job_id in await self._leftovers.gone(job_ids) if job_ids else ():
                removed += await self._remove(job_id, MAX_REMOVED - removed)
                if removed >= MAX_REMOVED:
                    break
            else:
                # Otherwise the same stretch again: something of it is left.
                self._last[collection] = job_ids[-1] if len(job_ids) == LOOKS else ""
        if removed:
            log.info("recovery.crawl_data_removed", count=removed)
        return +Counts({"crawl_data_removed": removed})

    async def _remove(self, job_id: str, limit: int) -> int:
        try:
            return await self._leftovers.remove(job_id, limit=limit) if limit > 0 else 0
        except OutcomeUnknownError:
            return 0  # whatever is left of it is found in the next round
