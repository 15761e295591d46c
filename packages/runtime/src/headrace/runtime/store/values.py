"""What the store is asked and what it answers, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headrace.contracts.job import Job, JobError, JsonText
from headrace.contracts.states import JobState, Reason


class InsertVerdict(StrEnum):
    """What became of one document of an insert."""

    CREATED = "created"
    SAME_KEY = "same_key"
    """Another job has this idempotency key; `other` is it."""
    KEY_UNSETTLED = "key_unsettled"
    """Another job takes this idempotency key, but no majority holds it yet: it may still be undone."""
    HELD = "held"
    """Another job that is not over holds the unique key; `other` is it."""
    UNKNOWN = "unknown"
    """Sent, not confirmed."""


@dataclass(frozen=True)
class Inserted:
    """The answer for one job of an insert, in the order given."""

    verdict: InsertVerdict
    other: Job | None = None


@dataclass(frozen=True)
class Settlement:
    """How one attempt ended, as the worker asks for it."""

    job_id: str
    attempt: int
    to: JobState
    reason: Reason
    result: JsonText | None = None
    error: JobError | None = None
    delay_ms: int | None = None
    """For a retry: due again this long after the server's now."""
    counts_failure: bool = False
    started_ms_ago: int | None = None
    """None when the job was never started."""
    progress: tuple[float, str] | None = None
    """The last progress, when it may not have been saved yet: fraction and message."""


class SettleVerdict(StrEnum):
    """What became of one settlement."""

    APPLIED = "applied"
    CANCELLED = "cancelled"
    """A cancel had been accepted and won; the result was dropped."""
    FENCED = "fenced"
    """The attempt no longer counted; nothing was written."""


@dataclass(frozen=True)
class Settled:
    """The answer for one settlement."""

    verdict: SettleVerdict
    state: JobState | None
    """The state this attempt led to; None when fenced."""
    score: int = 0
    run_at_ms: int = 0
    """Where a job that is queued again belongs in Redis."""


@dataclass(frozen=True)
class OwnJob:
    """What MongoDB says an incarnation owns."""

    job_id: str
    attempt: int
    claim_token: str | None
    cancel_requested: bool
    score: int


class CancelVerdict(StrEnum):
    """What a cancel found."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    ALREADY_CANCELLED = "already_cancelled"
    ALREADY_OVER = "already_over"


@dataclass(frozen=True)
class Place:
    """Where MongoDB says a waiting id belongs. `state` is None when there is no document."""

    job_id: str
    state: JobState | None
    score: int = 0
    run_at_ms: int = 0
    due: bool = False
    expired: bool = False
    type: str = ""
    contract_version: int = 1
    owner: str | None = None
    claim_token: str | None = None
