"""Jobs as the HTTP API shows them: one, many, and what became of those of a batch."""

from __future__ import annotations

from typing import Any

from headrace.contracts.api_base import Problem, View
from headrace.contracts.job import Job, JobError, Priority
from headrace.contracts.states import JobState
from headrace.contracts.values import Timestamp


class ErrorView(View):
    """What went wrong in an attempt."""

    type: str
    message: str
    fingerprint: str
    at: Timestamp

    @staticmethod
    def of(error: JobError) -> ErrorView:
        """The view of a stored error."""
        return ErrorView(type=error.type, message=error.message, fingerprint=error.fingerprint, at=error.at)


class ProgressView(View):
    """How far the job says it is."""

    fraction: float
    message: str
    at: Timestamp


class JobSummary(View):
    """A job as lists show it: without payload and result."""

    id: str
    type: str
    pool: str
    priority: Priority
    state: JobState
    indexed: bool
    attempt: int
    failures: int
    crashes: int
    max_retries: int
    timeout_seconds: float
    created_at: Timestamp
    run_at: Timestamp
    claimed_at: Timestamp | None
    started_at: Timestamp | None
    finished_at: Timestamp | None
    progress: ProgressView | None
    checkpoint_at: Timestamp | None
    cancel_requested_at: Timestamp | None
    error: ErrorView | None
    tags: dict[str, str]
    owner: str | None
    unique_key: str | None
    replay_of: str | None
    discarded_at: Timestamp | None

    @staticmethod
    def of(job: Job) -> JobSummary:
        """The view of a stored job."""
        return JobSummary(**_summary_fields(job))


class JobView(JobSummary):
    """A job as `GET /v1/jobs/{id}` shows it.

    `payload` and `result` are the stored JSON texts; the HTTP layer writes them out as they are, digit for digit.
    """

    payload: Any
    result: Any = None


def _summary_fields(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "type": job.type,
        "pool": job.pool,
        "priority": Priority.of_rank(job.priority),
        "state": job.state,
        "indexed": job.indexed or job.state is not JobState.QUEUED,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "max_retries": job.max_retries,
        "timeout_seconds": job.timeout_seconds,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "claimed_at": job.claimed_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "progress": ProgressView(**job.progress.model_dump()) if job.progress else None,
        "checkpoint_at": job.checkpoint_at,
        "cancel_requested_at": job.cancel_requested_at,
        "error": ErrorView.of(job.error) if job.error else None,
        "tags": job.tags,
        "owner": job.owner,
        "unique_key": job.unique_key,
        "replay_of": job.replay_of,
        "discarded_at": job.discarded_at,
    }


class JobList(View):
    """One page of jobs, newest first."""

    jobs: list[JobSummary]
    next_cursor: str | None


class BatchItemResult(View):
    """What became of one job of a batch: the job with 201 or 200, or the problem with its own status."""

    index: int
    status: int
    job: JobView | None = None
    problem: Problem | None = None


class BatchResults(View):
    """What became of each job of a batch, in the order sent."""

    results: list[BatchItemResult]
