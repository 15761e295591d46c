"""What becomes of a job whose worker is gone: a pure decision, applied by one guarded update.

Model: `makeRetryDecision` of River's job rescuer.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.contracts.heartbeat import Incarnation
from headrace.contracts.states import JobState, Reason


@dataclass(frozen=True)
class Orphan:
    """A processing job with a dead owner, as it was read."""

    job_id: str
    pool: str
    attempt: int
    owner: str
    claim_token: str
    crashes: int
    checkpoint_attempt: int | None
    score: int
    run_at_ms: int
    type: str = ""
    tenant: str | None = None


@dataclass(frozen=True)
class OrphanDecision:
    """Where the job goes and what its crash counter is then."""

    to: JobState
    reason: Reason
    crashes: int


def decide_orphan(orphan: Orphan, owner: Incarnation | None, *, max_crashes: int) -> OrphanDecision:
    """Decide about one orphan.

    A crash counts only for a job that had started, and for the culprit alone where one is known. An attempt that had
    saved a new checkpoint made headway, so the counter starts again. Of a lost host nobody knows what had started:
    every job of it counts, because one of them may have killed the host.

    Args:
        orphan: The job as read.
        owner: The dead incarnation, or None when its document is gone.
        max_crashes: At this many crashes the job fails with `crash_loop`.
    """
    reason = Reason.ORPHANED
    if owner is None or owner.running is None:
        counts = True
        reason = Reason.HOST_LOST
    elif owner.exit is not None and owner.exit.kind == "graceful":
        return OrphanDecision(JobState.QUEUED, Reason.RELEASED, orphan.crashes)
    elif owner.culprit is not None:
        counts = owner.culprit == orphan.job_id
    else:
        counts = orphan.job_id in owner.running
    if not counts:
        return OrphanDecision(JobState.QUEUED, reason, orphan.crashes)
    if orphan.checkpoint_attempt == orphan.attempt:
        return OrphanDecision(JobState.QUEUED, reason, 0)
    crashes = orphan.crashes + 1
    if crashes >= max_crashes:
        return OrphanDecision(JobState.FAILED, Reason.CRASH_LOOP, crashes)
    return OrphanDecision(JobState.QUEUED, reason, crashes)
