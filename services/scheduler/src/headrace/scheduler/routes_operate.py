"""The routes of operators: replays, dead letters, pools, audit."""

from __future__ import annotations

from headrace.contracts.api import AuditList, DeadLetterPage, DeadLetterResult, JobView, PoolList, PoolView
from headrace.contracts.errors import (
    DuplicateJobError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    InvalidPayloadError,
    NotFoundError,
    NotTerminalError,
    OutcomeUnknownError,
    QueueFullError,
    RateLimitedError,
    StoreUnavailableError,
    UnknownJobTypeError,
)
from headrace.contracts.operations import DeadLetterAction, PoolPatch, PoolPause
from headrace.runtime.web.auth import Scope
from headrace.runtime.web.routes import Route
from headrace.scheduler.handle_dead import discard_dead_letters, list_dead_letters, replay_dead_letters, replay_job
from headrace.scheduler.handle_pools import get_pool, list_audit, list_pools, patch_pool, pause_pool, resume_pool
from headrace.scheduler.queries import AuditQuery, DeadLetterQuery, SubmitHeaders
from headrace.scheduler.rate_limits import telling_rate

_CHANGE = (NotFoundError, StoreUnavailableError, OutcomeUnknownError)

OPERATE_ROUTES = (
    Route(
        "POST",
        "/v1/jobs/{id}/replay",
        telling_rate(replay_job),
        scope=Scope.OPERATE,
        summary="Run an ended job again, as a new job",
        description="The new job takes the unique key again. With an Idempotency-Key a repeat is answered with the "
        "replay that was made, and status 200.",
        headers=SubmitHeaders,
        responses={201: JobView, 200: JobView},
        problems=(
            NotFoundError,
            NotTerminalError,
            DuplicateJobError,
            IdempotencyInFlightError,
            IdempotencyMismatchError,
            InvalidPayloadError,
            UnknownJobTypeError,
            QueueFullError,
            RateLimitedError,
            StoreUnavailableError,
            OutcomeUnknownError,
        ),
        tags=("jobs",),
    ),
    Route(
        "GET",
        "/v1/dead-letters",
        list_dead_letters,
        scope=Scope.READ,
        summary="Failed jobs that nobody discarded, newest first, or grouped by the kind of their error",
        query=DeadLetterQuery,
        responses={200: DeadLetterPage},
        problems=(StoreUnavailableError,),
        tags=("dead letters",),
    ),
    Route(
        "POST",
        "/v1/dead-letters/replay",
        telling_rate(replay_dead_letters),
        scope=Scope.OPERATE,
        summary="Replay dead letters, each of them once, the oldest first",
        description="A dry run checks them against today's schemas and changes nothing.",
        body=DeadLetterAction,
        responses={200: DeadLetterResult},
        problems=(StoreUnavailableError, OutcomeUnknownError),
        tags=("dead letters",),
    ),
    Route(
        "POST",
        "/v1/dead-letters/discard",
        discard_dead_letters,
        scope=Scope.OPERATE,
        summary="Hide dead letters, the oldest first",
        body=DeadLetterAction,
        responses={200: DeadLetterResult},
        problems=(StoreUnavailableError, OutcomeUnknownError),
        tags=("dead letters",),
    ),
    Route(
        "GET",
        "/v1/pools",
        list_pools,
        scope=Scope.READ,
        summary="How every pool stands",
        responses={200: PoolList},
        problems=(StoreUnavailableError,),
        tags=("pools",),
    ),
    Route(
        "GET",
        "/v1/pools/{name}",
        get_pool,
        scope=Scope.READ,
        summary="How a pool stands",
        responses={200: PoolView},
        problems=(NotFoundError, StoreUnavailableError),
        tags=("pools",),
    ),
    Route(
        "POST",
        "/v1/pools/{name}/pause",
        pause_pool,
        scope=Scope.OPERATE,
        summary="Stop claims of a pool",
        description="Obeyed within two seconds. Running jobs run on, and submissions are taken.",
        body=PoolPause,
        body_required=False,
        responses={200: PoolView},
        problems=_CHANGE,
        tags=("pools",),
    ),
    Route(
        "POST",
        "/v1/pools/{name}/resume",
        resume_pool,
        scope=Scope.OPERATE,
        summary="Let claims of a pool go on",
        responses={200: PoolView},
        problems=_CHANGE,
        tags=("pools",),
    ),
    Route(
        "PATCH",
        "/v1/pools/{name}",
        patch_pool,
        scope=Scope.OPERATE,
        summary="Change the sizes of a pool",
        description="What is absent stays; null goes back to the default.",
        body=PoolPatch,
        responses={200: PoolView},
        problems=_CHANGE,
        tags=("pools",),
    ),
    Route(
        "GET",
        "/v1/audit",
        list_audit,
        scope=Scope.ADMIN,
        summary="Who did what, newest first",
        query=AuditQuery,
        responses={200: AuditList},
        problems=(StoreUnavailableError,),
        tags=("audit",),
    ),
)
