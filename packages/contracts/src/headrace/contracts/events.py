"""Events of jobs, as streams carry them. Hints: the job's own view is the truth."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from headrace.contracts.job import Progress
from headrace.contracts.states import JobState


class EventName(StrEnum):
    """The names that event streams use."""

    QUEUED = "job.queued"
    STARTED = "job.started"
    PROGRESS = "job.progress"
    RETRYING = "job.retrying"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"


EVENT_OF_TERMINAL = {
    JobState.COMPLETED: EventName.COMPLETED,
    JobState.FAILED: EventName.FAILED,
    JobState.CANCELLED: EventName.CANCELLED,
}


class JobEvent(BaseModel):
    """One event of one job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: EventName
    id: str
    type: str
    pool: str
    state: JobState
    attempt: int
    progress: Progress | None = None
    at: datetime
    tenant: str | None = None
    """Who may see it; no part of what is shown."""
