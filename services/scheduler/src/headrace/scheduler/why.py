"""Why a job is where it is: a pure explanation of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace.contracts.api import WhyCode, WhyReason, WhyView
from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.contracts.values import to_rfc3339

MAX_POSITION = 10_000
"""How far is counted; a job further behind has no position."""

_BACKOFF = frozenset({Reason.RETRY, Reason.TIMEOUT})
_STANDS_STILL = frozenset[WhyCode]({"paused", "no-worker"})


@dataclass(frozen=True)
class Surroundings:
    """What was found around a queued job.

    Attributes:
        now: The time to compare `run_at` with.
        paused: Why the pool is paused, or None.
        before: Due jobs that are claimed before it, counted up to `MAX_POSITION`; None when it is not due.
        slots: Of the living workers of its pool that know its type, in its version.
        knows_type: Whether there are such workers, but for the version.
        busy: Claimed jobs of its pool, counted up to `slots`.
        open_breakers: Names of the stores that are known to be down, and of dependencies that jobs of its type met.
        rate: Jobs that leave the pool per second, or None where that is not known.
    """

    now: datetime
    paused: str | None
    before: int | None
    slots: int
    knows_type: bool
    busy: int
    open_breakers: tuple[str, ...]
    rate: float | None


def explain_running(job: Job) -> WhyView:
    """A claimed job runs, or is about to."""
    detail = f"attempt {job.attempt} is with {job.owner}"
    if job.claimed_at is not None:
        detail += f" since {to_rfc3339(job.claimed_at)}"
    if job.cancel_requested_at is not None:
        detail += "; a cancel was asked for"
    return _view([_reason("running", detail)])


def explain_terminal(job: Job) -> WhyView:
    """A job that is over stays so."""
    at = f" at {to_rfc3339(job.finished_at)}" if job.finished_at is not None else ""
    error = f", error type {job.error.type}" if job.error is not None and job.state is JobState.FAILED else ""
    return _view([_reason("terminal", f"{job.state.value}{at}{error}")])


def explain_waiting(job: Job, found: Surroundings) -> WhyView:
    """Everything that holds a queued job up, and how far it is."""
    reasons: list[WhyReason] = []
    if found.paused is not None:
        words = f": {found.paused}" if found.paused else ""
        reasons.append(_reason("paused", f"the pool {job.pool} is paused{words}"))
    reasons += [
        _reason("dependency-open", f"{name} does not answer; its breaker is open") for name in found.open_breakers
    ]
    if job.run_at > found.now:
        reasons.append(_waits(job))
    if not job.indexed:
        reasons.append(_reason("not-indexed", "it is stored and has not reached Redis yet; recovery pushes it"))
    if found.slots == 0:
        what = f"the version {job.contract_version} of the type" if found.knows_type else "the type"
        reasons.append(_reason("no-worker", f"no living worker of the pool {job.pool} knows {what} {job.type}"))
    elif found.busy >= found.slots and job.run_at <= found.now:
        reasons.append(_reason("pool-at-capacity", f"all {found.slots} slots of the pool {job.pool} are taken"))
    position = None
    if found.before is not None:
        if found.before >= MAX_POSITION:
            reasons.append(_reason("behind", f"{MAX_POSITION} jobs or more are claimed before it"))
        else:
            position = found.before + 1
            if found.before or not reasons:
                jobs = (
                    "no job is" if not found.before else "1 job is" if found.before == 1 else f"{found.before} jobs are"
                )
                reasons.append(_reason("behind", f"{jobs} claimed before it"))
    stands_still = any(reason.code in _STANDS_STILL for reason in reasons)
    eta = round(position / found.rate, 1) if position is not None and found.rate and not stands_still else None
    return _view(reasons, position, eta)


def _waits(job: Job) -> WhyReason:
    until = to_rfc3339(job.run_at)
    if job.log and job.log[-1].reason in _BACKOFF:
        return _reason("backoff", f"it failed {job.failures} of {job.max_retries + 1} times; the next is at {until}")
    return _reason("delayed", f"it is due at {until}")


def _reason(code: WhyCode, detail: str) -> WhyReason:
    return WhyReason(code=code, detail=detail)


def _view(reasons: list[WhyReason], position: int | None = None, eta_seconds: float | None = None) -> WhyView:
    return WhyView(reasons=reasons, position=position, eta_seconds=eta_seconds)
