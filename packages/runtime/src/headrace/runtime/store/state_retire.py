"""The two marks that an ended job may still get: what replayed it, and that nobody wants to see it any more.

State, result, attempt and log stay as they are (I2), and so does `updated_at`: nothing that recovery compares changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.contracts.states import TERMINAL, JobState
from headrace.runtime.store import updates
from headrace.runtime.store.faults import writing
from headrace.runtime.store.state_base import StateBase

_OVER = [state.value for state in TERMINAL]


class Retiring(StateBase):
    """Marks on ended jobs."""

    async def mark_replayed(self, made: Mapping[str, str]) -> None:
        """Note on ended jobs which jobs replay them.

        Args:
            made: Ended job → its replay; the last one counts.
        """
        ids = list(made)
        if ids:
            with writing("mark replayed"):
                await self._jobs.update_many(
                    {"_id": {"$in": ids}, "state": {"$in": _OVER}},
                    [{"$set": {"replayed_by": updates.by_job(ids, [made[job_id] for job_id in ids])}}],
                )

    async def discard(self, job_ids: Sequence[str]) -> int:
        """Hide the dead letters among these. Returns how many were not hidden before."""
        with writing("discard"):
            result = await self._jobs.update_many(
                {"_id": {"$in": list(job_ids)}, "state": JobState.FAILED.value, "discarded_at": None},
                [{"$set": {"discarded_at": "$$NOW"}}],
            )
        return int(result.modified_count)
