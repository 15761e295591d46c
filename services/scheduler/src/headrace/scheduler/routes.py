"""Every route of the scheduler, as the OpenAPI document shows them."""

from __future__ import annotations

from headrace.contracts.api import (
    BatchResults,
    HistoryView,
    JobList,
    JobLogPage,
    JobTypeList,
    JobView,
    PageList,
    WhyView,
)
from headrace.contracts.errors import (
    AlreadyTerminalError,
    DuplicateJobError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    InvalidPayloadError,
    NotFoundError,
    OutcomeUnknownError,
    QueueFullError,
    RateLimitedError,
    StoreUnavailableError,
    UnknownJobTypeError,
)
from headrace.contracts.submission import JobBatch, JobSubmission
from headrace.runtime.web.auth import Scope
from headrace.runtime.web.routes import EVENT_STREAM, Route
from headrace.scheduler.handle_batch import submit_batch
from headrace.scheduler.handle_cancel import cancel_job
from headrace.scheduler.handle_events import EventHeaders, EventsQuery, stream_events, stream_job_events
from headrace.scheduler.handle_logs import get_logs
from headrace.scheduler.handle_reads import get_history, get_job, get_pages, list_job_types, list_jobs
from headrace.scheduler.handle_submit import submit_job
from headrace.scheduler.handle_why import explain_job
from headrace.scheduler.queries import ListQuery, LogsQuery, PagesQuery, SubmitHeaders
from headrace.scheduler.rate_limits import telling_rate
from headrace.scheduler.routes_operate import OPERATE_ROUTES

ROUTES = (
    Route(
        "POST",
        "/v1/jobs",
        telling_rate(submit_job),
        scope=Scope.SUBMIT,
        summary="Submit a job",
        description="With an Idempotency-Key a repeat is answered with the stored job and status 200.",
        headers=SubmitHeaders,
        body=JobSubmission,
        responses={201: JobView, 200: JobView},
        problems=(
            DuplicateJobError,
            IdempotencyInFlightError,
            InvalidPayloadError,
            UnknownJobTypeError,
            IdempotencyMismatchError,
            QueueFullError,
            RateLimitedError,
            StoreUnavailableError,
            OutcomeUnknownError,
        ),
        tags=("jobs",),
    ),
    Route(
        "POST",
        "/v1/jobs/batch",
        telling_rate(submit_batch),
        scope=Scope.SUBMIT,
        summary="Submit up to a thousand jobs",
        description="Each job stands for itself: it has a status of its own, and its job or its problem.",
        body=JobBatch,
        responses={200: BatchResults},
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs",
        list_jobs,
        scope=Scope.READ,
        summary="List jobs, newest first",
        query=ListQuery,
        responses={200: JobList},
        problems=(StoreUnavailableError,),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}",
        get_job,
        scope=Scope.READ,
        summary="One job",
        responses={200: JobView},
        problems=(NotFoundError, StoreUnavailableError),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/history",
        get_history,
        scope=Scope.READ,
        summary="Every transition of a job and its last errors",
        responses={200: HistoryView},
        problems=(NotFoundError, StoreUnavailableError),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/pages",
        get_pages,
        scope=Scope.READ,
        summary="The stored pages of a crawl job",
        query=PagesQuery,
        responses={200: PageList},
        problems=(NotFoundError, StoreUnavailableError),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/logs",
        get_logs,
        scope=Scope.READ,
        summary="What a job printed and logged",
        description="The last 500 lines or 64 KiB of each attempt, the newest attempt last. Kept as long as the job.",
        query=LogsQuery,
        responses={200: JobLogPage},
        problems=(NotFoundError, StoreUnavailableError),
        tags=("jobs",),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/cancel",
        cancel_job,
        scope=Scope.OPERATE,
        or_scope=Scope.SUBMIT,
        summary="Cancel a job",
        description="With `submit` alone only by the token that submitted the job.",
        responses={200: JobView, 202: JobView},
        problems=(NotFoundError, AlreadyTerminalError, StoreUnavailableError, OutcomeUnknownError),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/why",
        explain_job,
        scope=Scope.READ,
        summary="Why a job does not run, or that it does",
        responses={200: WhyView},
        problems=(NotFoundError, StoreUnavailableError),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/events",
        stream_job_events,
        scope=Scope.READ,
        summary="Events of one job, until it is over",
        description="Server-sent events. The first is `job.snapshot`; the stream ends after `job.completed`, "
        "`job.failed` or `job.cancelled`. Events are hints; the job view is the truth.",
        headers=EventHeaders,
        responses={200: None},
        problems=(NotFoundError, RateLimitedError, StoreUnavailableError),
        tags=("events",),
        media_type=EVENT_STREAM,
    ),
    Route(
        "GET",
        "/v1/events",
        stream_events,
        scope=Scope.READ,
        summary="Events of all jobs",
        description="Server-sent events. With Last-Event-ID what was missed comes first, or `job.gap` where that is "
        "lost. Events are hints; the job view is the truth.",
        query=EventsQuery,
        headers=EventHeaders,
        responses={200: None},
        problems=(RateLimitedError,),
        tags=("events",),
        media_type=EVENT_STREAM,
    ),
    Route(
        "GET",
        "/v1/job-types",
        list_job_types,
        scope=Scope.READ,
        summary="Every registered job type",
        responses={200: JobTypeList},
        problems=(StoreUnavailableError,),
        tags=("types",),
    ),
    *OPERATE_ROUTES,
)
