"""What the HTTP API answers. `docs` and the OpenAPI document are generated from these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel

from headrace.contracts.events import JobEvent
from headrace.contracts.job import Job, JobError, Priority
from headrace.contracts.states import JobState, Reason
from headrace.contracts.values import Timestamp

WhyCode = Literal[
    "paused",
    "delayed",
    "backoff",
    "behind",
    "no-worker",
    "pool-at-capacity",
    "not-indexed",
    "dependency-open",
    "running",
    "terminal",
]
"""Why a job is where it is."""


class View(BaseModel):
    """Base of everything that is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Problem(BaseModel):
    """An error as RFC 9457 writes it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None
    id: str | None = None


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


class TransitionView(View):
    """One step of a job."""

    seq: int
    from_: JobState | None
    to: JobState
    attempt: int
    owner: str | None
    at: Timestamp
    reason: Reason

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: "from" if name == "from_" else name,
    )


class HistoryView(View):
    """Every step of a job and its last errors."""

    transitions: list[TransitionView]
    errors: list[ErrorView]

    @staticmethod
    def of(job: Job) -> HistoryView:
        """The history of a stored job."""
        return HistoryView(
            transitions=[
                TransitionView(
                    seq=entry.seq,
                    from_=entry.from_,
                    to=entry.to,
                    attempt=entry.attempt,
                    owner=entry.owner,
                    at=entry.at,
                    reason=entry.reason,
                )
                for entry in job.log
            ],
            errors=[ErrorView.of(error) for error in job.errors],
        )


class PageView(View):
    """One page of a crawl."""

    url: str
    final_url: str | None
    state: str
    status: int | None
    depth: int
    title: str | None
    bytes: int
    error: str | None


class PageList(View):
    """A stretch of the pages of a crawl, in the order of their keys."""

    pages: list[PageView]
    next_cursor: str | None


class JobTypeView(View):
    """A job type as its workers registered it."""

    type: str
    pool: str
    payload_schema: dict[str, Any]
    timeout_seconds: float
    max_retries: int
    contract_version: int
    workers: int


class JobTypeList(View):
    """Every registered job type."""

    types: list[JobTypeView]


class BatchItemResult(View):
    """What became of one job of a batch: the job with 201 or 200, or the problem with its own status."""

    index: int
    status: int
    job: JobView | None = None
    problem: Problem | None = None


class BatchResults(View):
    """What became of each job of a batch, in the order sent."""

    results: list[BatchItemResult]


class JobEventView(View):
    """The data of one event of a stream."""

    id: str
    type: str
    pool: str
    state: JobState
    attempt: int
    progress: ProgressView | None
    at: Timestamp

    @staticmethod
    def of(event: JobEvent) -> JobEventView:
        """The view of an event."""
        return JobEventView(
            id=event.id,
            type=event.type,
            pool=event.pool,
            state=event.state,
            attempt=event.attempt,
            progress=ProgressView(**event.progress.model_dump()) if event.progress else None,
            at=event.at,
        )


class WhyReason(View):
    """One reason why a job is where it is."""

    code: WhyCode
    detail: str


class WhyView(View):
    """Why a job does not run, or that it does. `position` counts from 1; null where there is none, or it is too far."""

    reasons: list[WhyReason]
    position: int | None
    eta_seconds: float | None


class JobLogLine(View):
    """One line that a job printed or logged. `level` is `stdout`, `stderr`, or that of the log call."""

    seq: int
    attempt: int
    at: Timestamp
    level: str
    text: str


class JobLogPage(View):
    """Lines of a job, oldest first. Of each attempt the last 500 lines or 64 KiB are kept."""

    lines: list[JobLogLine]
    next_after: int
    """What to ask behind next; lines of a running job follow."""


class BreakerView(View):
    """An open breaker of something that jobs depend on."""

    name: str
    state: Literal["open", "half-open"]
    opened_at: Timestamp
    retry_in_seconds: float
    failures: int
    types: list[str]
    error: str


class BreakerList(View):
    """Open breakers, by name. A dependency that works has none."""

    breakers: list[BreakerView]


class BreakerReset(View):
    """A breaker that was closed by hand."""

    name: str


class DeadLetterGroup(View):
    """Dead letters of one type that failed in the same way."""

    fingerprint: str
    type: str
    count: int
    first_at: Timestamp
    last_at: Timestamp
    sample_message: str


class DeadLetterGroups(View):
    """The largest groups of dead letters, the largest first."""

    groups: list[DeadLetterGroup]


class DeadLetterPage(RootModel[JobList | DeadLetterGroups]):
    """A page of dead letters, newest first; or their groups, where `group_by` was given."""


class Refusal(View):
    """A job that was left alone, with the code of the problem."""

    id: str
    code: str


class DeadLetterResult(View):
    """What an action on dead letters did.

    `matched` counts all that fit the filter; `done` those that were replayed or discarded now, at most `limit`.
    """

    matched: int
    done: int
    refused: list[Refusal]


class WaitingView(View):
    """Waiting jobs by priority."""

    high: int
    medium: int
    low: int


class SlotsView(View):
    """Slots of the workers of a pool, as their last heartbeats tell."""

    busy: int
    total: int


class PoolView(View):
    """How a pool stands. For a token with a tenant the jobs are that tenant's alone."""

    name: str
    waiting: WaitingView
    delayed: int
    in_flight: int
    oldest_waiting_seconds: float | None
    size_limit: int
    paused: bool
    paused_reason: str | None
    slots: SlotsView
    workers: int
    throughput_per_second: float | None


class PoolList(View):
    """Every pool, by name."""

    pools: list[PoolView]


class AuditEntryView(View):
    """One thing that somebody did."""

    id: str
    who: str
    tenant: str | None
    what: str
    target: str | None
    filter: dict[str, Any] | None
    count: int
    when: Timestamp


class AuditList(View):
    """A page of audit entries, newest first."""

    entries: list[AuditEntryView]
    next_cursor: str | None
