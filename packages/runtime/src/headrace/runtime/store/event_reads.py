"""What event streams ask of the truth: how jobs stand now, as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.contracts.events import EVENT_OF_TERMINAL, EventName, JobEvent
from headrace.contracts.job import Progress
from headrace.contracts.states import JobState
from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading

NAMES = {JobState.QUEUED: EventName.QUEUED, JobState.PROCESSING: EventName.STARTED, **EVENT_OF_TERMINAL}
_FIELDS = dict.fromkeys(("type", "pool", "state", "attempt", "progress", "updated_at", "tenant"), 1)


class EventReads:
    """Reads of many jobs at once, from a majority."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs

    async def standing(self, job_ids: Sequence[str]) -> dict[str, JobEvent]:
        """The event that led each job to where it is; ids without a job are left out.

        A queued job is told as `job.queued`, whatever sent it there; one that is claimed as `job.started`, although its
        executor may not have begun.
        """
        if not job_ids:
            return {}
        with reading("jobs of streams"):
            cursor = self._jobs.find({"_id": {"$in": list(job_ids)}}, _FIELDS)
            return {document["_id"]: _to_event(document) async for document in cursor}


def _to_event(document: dict[str, Any]) -> JobEvent:
    state = JobState(document["state"])
    progress = document.get("progress")
    return JobEvent(
        event=NAMES[state],
        id=document["_id"],
        type=document["type"],
        pool=document["pool"],
        state=state,
        attempt=document["attempt"],
        progress=None if progress is None else Progress.model_validate(progress),
        at=document["updated_at"],
        tenant=document.get("tenant"),
    )
