"""A job's attempts, put together from its transitions, its errors and what is known of the workers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headrace.contracts.heartbeat import Incarnation
from headrace.contracts.job import Job, JobError, LogEntry
from headrace.contracts.states import JobState, Reason

SAME_MOMENT = timedelta(milliseconds=5)
"""An error and the transition it caused are written in one update, by one clock."""

_DIED = frozenset({Reason.ORPHANED, Reason.HOST_LOST, Reason.CRASH_LOOP})


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    Attributes:
        number: From 1.
        owner: The worker child.
        worker: What is known of it; None when it is forgotten.
        claimed_at: When it was claimed.
        seconds: From the claim to the end; None while it runs.
        outcome: The reason of the transition that ended it; None while it runs.
        error: The error written with that transition, or with the death of the worker.
        died: Whether the worker died under it.
        death: How, in words; empty when it did not or nobody knows.
    """

    number: int
    owner: str | None
    worker: Incarnation | None
    claimed_at: datetime
    seconds: float | None
    outcome: Reason | None
    error: JobError | None
    died: bool
    death: str


def owners_of(job: Job) -> list[str]:
    """The worker children that its attempts were with."""
    return sorted({entry.owner for entry in job.log if entry.owner is not None})


def attempts_of(job: Job, workers: Mapping[str, Incarnation]) -> list[Attempt]:
    """The attempts that the job's log still tells of, the newest first."""
    found = []
    for place, entry in enumerate(job.log):
        if entry.to is not JobState.PROCESSING:
            continue
        end = job.log[place + 1] if place + 1 < len(job.log) else None
        found.append(_attempt(job, entry, end, workers))
    return found[::-1]


def _attempt(job: Job, claim: LogEntry, end: LogEntry | None, workers: Mapping[str, Incarnation]) -> Attempt:
    worker = workers.get(claim.owner or "")
    died = end is not None and end.reason in _DIED
    return Attempt(
        number=claim.attempt,
        owner=claim.owner,
        worker=worker,
        claimed_at=claim.at,
        seconds=max(0.0, (end.at - claim.at).total_seconds()) if end is not None else None,
        outcome=end.reason if end is not None else None,
        error=_error_at(job.errors, end.at) if end is not None else None,
        died=died,
        death=words_of(worker) if died and worker is not None else "",
    )


def _error_at(errors: Sequence[JobError], moment: datetime) -> JobError | None:
    return next((error for error in reversed(errors) if abs(error.at - moment) <= SAME_MOMENT), None)


def words_of(worker: Incarnation) -> str:
    """How a worker child ended: `killed by SIGKILL (9), peak memory 120 MiB`; empty while it lives."""
    end = worker.exit
    if end is None:
        return ""
    if end.kind == "lease":
        text = "its host went silent: the lease ran out"
    elif end.kind == "memory":
        text = "ended by its supervisor: above its memory limit"
    elif end.kind == "killed":
        text = "ended by its supervisor"
    elif end.signal is not None:
        text = f"killed by {end.signal_name} ({end.signal})"
    elif end.kind == "graceful":
        text = "stopped in order"
    else:
        text = f"exited with code {end.code}" if end.code is not None else end.kind
    if end.peak_rss_bytes:
        text += f", peak memory {end.peak_rss_bytes / 2**20:.0f} MiB"
    return text


@dataclass(frozen=True)
class Step:
    """One transition, in words."""

    at: datetime
    state: JobState
    text: str
    by: str | None
    after_seconds: float | None
    """Since the step before."""


_WORDS = {
    Reason.SUBMITTED: "submitted",
    Reason.CLAIMED: "claimed as attempt {attempt}",
    Reason.COMPLETED: "completed",
    Reason.FAILED: "failed",
    Reason.RETRY: "attempt {attempt} failed; another follows",
    Reason.RELEASED: "attempt {attempt} given back without cost",
    Reason.ORPHANED: "the worker died; attempt {attempt} handed back",
    Reason.HOST_LOST: "the worker's host went silent; attempt {attempt} handed back",
    Reason.CRASH_LOOP: "the worker died again; the job is given up",
    Reason.TIMEOUT: "attempt {attempt} ran too long",
    Reason.CANCELLED: "cancelled",
    Reason.EXPIRED: "not started in time",
}


def timeline_of(job: Job) -> list[Step]:
    """Every transition that the log still holds, in order."""
    steps = []
    before: datetime | None = None
    for entry in job.log:
        steps.append(
            Step(
                at=entry.at,
                state=entry.to,
                text=_WORDS[entry.reason].format(attempt=entry.attempt),
                by=entry.by,
                after_seconds=None if before is None else max(0.0, (entry.at - before).total_seconds()),
            )
        )
        before = entry.at
    return steps
