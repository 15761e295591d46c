"""What the answer to "why does my job not run" needs to know of the other jobs."""

from __future__ import annotations

from typing import Any

from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading


class WhyReads:
    """Counts, each up to a cap, so that none of them is a burden in a pool of a million jobs."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs

    async def count_before(self, job: Job, *, cap: int) -> int:
        """How many due jobs of the same pool are claimed before this one, counted up to `cap`."""
        score = job.ready_score
        with reading("jobs before"):
            return int(
                await self._jobs.count_documents(
                    {
                        "pool": job.pool,
                        "state": JobState.QUEUED.value,
                        "$or": [{"score": {"$lt": score}}, {"score": score, "_id": {"$lt": job.id}}],
                        "$expr": {"$lte": ["$run_at", "$$NOW"]},
                    },
                    limit=cap,
                )
            )

    async def count_running(self, pool: str, *, cap: int) -> int:
        """How many jobs of the pool are claimed, counted up to `cap`."""
        with reading("running jobs"):
            return int(
                await self._jobs.count_documents({"pool": pool, "state": JobState.PROCESSING.value}, limit=max(1, cap))
            )
