"""The states of a job and the only ways between them.

`docs/state-machine.md` is compared with this table by a test.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands; the value is the word of the HTTP API."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing ever follows."""
        return self in TERMINAL


class Reason(StrEnum):
    """Why a transition happened; written beside it in the job's log."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    """The job's own error, with no retry left or declared permanent."""
    RETRY = "retry"
    RELEASED = "released"
    """Claimed, then handed back without cost: shutdown, recycling, a claim nobody knew of."""
    ORPHANED = "orphaned"
    """The worker child died; recovery handed the job back."""
    HOST_LOST = "host_lost"
    """The whole worker service went silent; recovery handed the job back."""
    CRASH_LOOP = "crash_loop"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: dict[tuple[JobState | None, JobState], frozenset[Reason]] = {
    (None, JobState.QUEUED): frozenset({Reason.SUBMITTED}),
    (JobState.QUEUED, JobState.PROCESSING): frozenset({Reason.CLAIMED}),
    (JobState.QUEUED, JobState.CANCELLED): frozenset({Reason.CANCELLED}),
    (JobState.QUEUED, JobState.FAILED): frozenset({Reason.EXPIRED}),
    (JobState.PROCESSING, JobState.QUEUED): frozenset(
        {Reason.RETRY, Reason.RELEASED, Reason.ORPHANED, Reason.HOST_LOST, Reason.TIMEOUT}
    ),
    (JobState.PROCESSING, JobState.COMPLETED): frozenset({Reason.COMPLETED}),
    (JobState.PROCESSING, JobState.FAILED): frozenset({Reason.FAILED, Reason.CRASH_LOOP, Reason.TIMEOUT}),
    (JobState.PROCESSING, JobState.CANCELLED): frozenset({Reason.CANCELLED}),
}
"""Every legal step with the reasons it may carry. The first step has no state before it."""


def is_legal(before: JobState | None, after: JobState) -> bool:
    """Whether a job may go from `before` to `after` in one step."""
    return (before, after) in TRANSITIONS
