"""What becomes of a job whose worker is gone: a pure decision, applied by one guarded update.

Model: `makeRetryDecision` of River's job rescuer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from headrace.contracts.heartbeat import ExitRecord, Incarnation
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
    claimed_at: datetime | None = None


@dataclass(frozen=True)
class OrphanDecision:
    """Where the job goes and what its crash counter is then.

    `death`: how the worker child ended that had started the job, for people; None when the job had not started, or
    when the child handed it back itself.
    """

    to: JobState
    reason: Reason
    crashes: int
    death: str | None = field(default=None, compare=False)


def decide_orphan(orphan: Orphan, owner: Incarnation | None, *, max_crashes: int) -> OrphanDecision:
    """Decide about one orphan.

    A crash counts only for a job that had started, and for the culprit alone where one is known. An attempt that had
    saved a new checkpoint made headway, so the counter starts again. Of a lost host nobody knows what had started:
    every job of it counts, because one of them may have killed the host; but none that it claimed after it had been
    declared dead (MongoDB's clock sets both times), for then it worked on, and that job is no reason for the silence.

    Args:
        orphan: The job as read.
        owner: The dead incarnation, or None when its document is gone.
        max_crashes: At this many crashes the job fails with `crash_loop`.
    """
    reason = Reason.ORPHANED
    if owner is None or owner.running is None:
        counts = not _claimed_by_the_dead(orphan, owner)
        reason = Reason.HOST_LOST
    elif owner.exit is not None and owner.exit.kind == "graceful":
        return OrphanDecision(JobState.QUEUED, Reason.RELEASED, orphan.crashes)
    elif owner.culprit is not None:
        counts = owner.culprit == orphan.job_id
    else:
        counts = orphan.job_id in owner.running
    death = _tell_death(orphan, owner)
    if not counts:
        return OrphanDecision(JobState.QUEUED, reason, orphan.crashes, death)
    if orphan.checkpoint_attempt == orphan.attempt:
        return OrphanDecision(JobState.QUEUED, reason, 0, death)
    crashes = orphan.crashes + 1
    if crashes >= max_crashes:
        return OrphanDecision(JobState.FAILED, Reason.CRASH_LOOP, crashes, death)
    return OrphanDecision(JobState.QUEUED, reason, crashes, death)


def _claimed_by_the_dead(orphan: Orphan, owner: Incarnation | None) -> bool:
    if owner is None or owner.dead_at is None or orphan.claimed_at is None:
        return False
    return orphan.claimed_at > owner.dead_at


def _tell_death(orphan: Orphan, owner: Incarnation | None) -> str | None:
    if owner is None:
        return "its worker child is gone without a trace"
    if owner.running is None:
        return f"worker child {owner.id} on {owner.host} went silent; nobody saw how it ended"
    if orphan.job_id not in owner.running:
        return None
    words = f"worker child {owner.id} on {owner.host} {_tell_exit(owner.exit or ExitRecord(kind='unknown'))}"
    if owner.exit is not None and owner.exit.peak_rss_bytes:
        words += f"; peak memory {owner.exit.peak_rss_bytes / 1_048_576:.0f} MiB"
    if owner.culprit is not None:
        words += "; because of this job" if owner.culprit == orphan.job_id else "; because of another job"
    return words


def _tell_exit(record: ExitRecord) -> str:
    if record.kind == "memory":
        return "was killed above its memory limit"
    if record.kind == "killed":
        return "was killed by its supervisor"
    if record.signal is not None:
        return f"was ended by signal {record.signal} ({record.signal_name})"
    if record.code is not None:
        return f"ended with exit code {record.code}"
    return "ended"
