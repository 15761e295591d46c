"""A job before it has a time: checked, named, not yet stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import FieldError
from headrace.contracts.job import Idempotency, Job, JsonText, LogEntry
from headrace.contracts.states import JobState, Reason
from headrace.contracts.submission import JobSubmission
from headrace.runtime.process import tracing
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.store.job_types import JobType
from headrace.runtime.web.auth import Token
from headrace.runtime.web.problems import refused

WRITER = "scheduler"
"""Stands as `by` in the log entries that schedulers write."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_YEAR = 9000
"""Due times stay far enough below the year 9999 that a deadline after them is still a time."""


@dataclass(frozen=True)
class Draft:
    """Everything about a new job but its times, which are Redis' to say."""

    id: str
    fields: JobSubmission
    payload: JsonText
    pool: str
    timeout_seconds: float
    max_retries: int
    contract_version: int
    submitted_by: str
    tenant: str | None
    idempotency: Idempotency | None
    replay_of: str | None = None
    traceparent: str | None = field(default_factory=tracing.current)
    """Of the request that is being answered."""

    def to_job(self, now_ms: int, *, indexed: bool) -> Job:
        """The job as it is stored: queued, its log begun.

        Args:
            now_ms: Redis' clock.
            indexed: False when Redis is known not to take it.
        """
        fields = self.fields
        now, log = _beginning(now_ms)
        run_at = fields.run_at or (now + _milliseconds(fields.delay_seconds) if fields.delay_seconds else now)
        expires_in = fields.expires_in_seconds
        # A copy of a blank one with values that are checked already: a third of the time of checking them again.
        return _BLANK.evolve(
            id=self.id,
            type=fields.type,
            pool=self.pool,
            priority=fields.priority.rank,
            max_retries=self.max_retries,
            timeout_seconds=self.timeout_seconds,
            payload=self.payload,
            contract_version=self.contract_version,
            run_at=run_at,
            # A job is due at its creation at the earliest, however far back its `run_at` lies.
            expires_at=None if expires_in is None else max(run_at, now) + _milliseconds(expires_in),
            created_at=now,
            updated_at=now,
            idempotency=self.idempotency,
            unique_key=fields.unique_key,
            tags=fields.tags,
            tenant=self.tenant,
            submitted_by=self.submitted_by,
            replay_of=self.replay_of,
            traceparent=self.traceparent,
            indexed=indexed,
            log=log,
        )


def make_draft(
    fields: JobSubmission,
    payload: JsonText,
    *,
    job_type: JobType,
    config: JobConfig,
    token: Token,
    idempotency: Idempotency | None,
) -> Draft:
    """Give a checked submission its id and what its type's policy and the settings say.

    Raises:
        ValidationFailedError: `run_at` lies thousands of years ahead.
    """
    if fields.run_at is not None and fields.run_at.year > LAST_YEAR:
        raise refused([FieldError("/run_at", "too_late", f"must lie before the year {LAST_YEAR + 1}")])
    policy = job_type.policy
    return Draft(
        id=new_job_id(),
        fields=fields,
        payload=payload,
        pool=policy.pool,
        timeout_seconds=float(_first(fields.timeout_seconds, policy.timeout_seconds, config.timeout_seconds)),
        max_retries=int(_first(fields.max_retries, policy.max_retries, config.max_retries)),
        contract_version=job_type.contract_version,
        submitted_by=token.name,
        tenant=token.tenant,
        idempotency=idempotency,
    )


@lru_cache(maxsize=16)
def _beginning(now_ms: int) -> tuple[datetime, tuple[LogEntry, ...]]:
    """The time, and the log of a job that begins then; the same values for all jobs of a batch."""
    now = EPOCH + timedelta(milliseconds=now_ms)
    entry = LogEntry(seq=0, from_=None, to=JobState.QUEUED, attempt=0, by=WRITER, at=now, reason=Reason.SUBMITTED)
    return now, (entry,)


_BLANK = Job(
    id="",
    type="",
    pool="",
    priority=0,
    state=JobState.QUEUED,
    max_retries=0,
    timeout_seconds=0,
    payload="",
    run_at=EPOCH,
    created_at=EPOCH,
    updated_at=EPOCH,
)


def _first(asked: float | None, policy: float | None, default: float) -> float:
    if asked is not None:
        return asked
    return default if policy is None else policy


def _milliseconds(seconds: float) -> timedelta:
    return timedelta(milliseconds=round(seconds * 1000))
