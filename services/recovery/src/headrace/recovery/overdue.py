"""The last resort for runs that nobody ends: their time is over, or their cancel was accepted, and their owner lives.

A run's own child ends it first, then its supervisor, and the orphan pass when both are gone. What is found here was
left by a supervisor that renews its leases and does neither, so it is rare and told as a warning.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import structlog

from headrace.contracts.retry import RetryPolicy
from headrace.contracts.states import JobState
from headrace.recovery.announce import announce_moved
from headrace.recovery.counts import Counts
from headrace.recovery.moved import Moved, push_moved
from headrace.recovery.parts import NAME, Parts
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.state_overdue import Overdue

BATCH = 500
LAST_RESORT_SECONDS = 60.0
"""Beyond a job's own limit: the supervisor's hard limit is ten seconds after it."""
_LEAST_AHEAD_MS = 200

log = structlog.get_logger(__name__)


class TimeoutDuty:
    """Ends attempts whose time was over `LAST_RESORT_SECONDS` ago; they count as failures, never as crashes.

    The time runs from the claim, by MongoDB's clock, so a job that was claimed ahead gets the claim horizon on top. The
    update asks the clock again and names state, attempt and owner as read (B8). Only owners whose lease runs are
    judged: what the dead left, however long ago, is the orphan pass's, and no failure of the job.
    """

    name = "timeouts"
    seconds = 5.0

    def __init__(self, parts: Parts, *, dice: Callable[[], float] = random.random) -> None:
        self._parts = parts
        self._dice = dice
        ahead_ms = max(_LEAST_AHEAD_MS, 5 * parts.config.claim_horizon_ms)
        self._slack_ms = int(LAST_RESORT_SECONDS * 1000) + ahead_ms

    async def find(self) -> list[Overdue]:
        """Up to `BATCH` of them."""
        found = await self._parts.jobs.overrunning(slack_ms=self._slack_ms, limit=BATCH)
        alive = await self._parts.incarnations.leasing({job.owner for job in found}) if found else set()
        return [job for job in found if job.owner in alive]

    async def run_once(self) -> Counts:
        """End one batch.

        Raises:
            StoreUnavailableError: MongoDB does not answer. Redis not answering is no failure of this duty.
        """
        found = await self.find()
        if not found:
            return Counts()
        policies = {item.type: item.policy.retry for item in await self._parts.job_types.all()}
        await afp("between_overdue_look_and_update")
        moved: list[Moved] = []
        try:
            for job in found:
                to, delay_ms = decide_timeout(job, policies.get(job.type, RetryPolicy()), jitter=self._dice())
                ended = await self._parts.jobs.time_out(
                    job,
                    to=to,
                    delay_ms=delay_ms,
                    slack_ms=self._slack_ms,
                    message=f"ran longer than {job.timeout_seconds:g} s and was not stopped by its worker",
                    by=NAME,
                )
                if ended is not None:
                    moved.append(_moved(job, *ended))
        finally:
            await _tell(self._parts, moved)
        return Counts("timeout" if item.to is not JobState.CANCELLED else "cancelled" for item in moved)


class CancelDuty:
    """Carries out accepted cancels that a worker has not carried out for a whole lease.

    Earlier than that the worker may still be at it, and if it is dead the orphan pass ends its jobs, by which an
    accepted cancel wins.
    """

    name = "cancels"
    seconds = 5.0

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._grace_ms = int(parts.config.lease_seconds * 1000)

    async def find(self) -> list[Overdue]:
        """Up to `BATCH` of them."""
        return await self._parts.jobs.cancels_unanswered(grace_ms=self._grace_ms, limit=BATCH)

    async def run_once(self) -> Counts:
        """Carry out one batch.

        Raises:
            StoreUnavailableError: MongoDB does not answer. Redis not answering is no failure of this duty.
        """
        found = await self.find()
        await afp("between_cancel_look_and_update")
        moved: list[Moved] = []
        try:
            for job in found:
                ended = await self._parts.jobs.complete_cancel(job, grace_ms=self._grace_ms, by=NAME)
                if ended is not None:
                    moved.append(_moved(job, *ended))
        finally:
            await _tell(self._parts, moved)
        return Counts("cancelled" for _ in moved)


def decide_timeout(job: Overdue, policy: RetryPolicy, *, jitter: float) -> tuple[JobState, int | None]:
    """Where a job goes whose attempt ran too long, and the delay of its next one.

    Args:
        job: As read.
        policy: Of its type.
        jitter: From 0 to 1.
    """
    failures = job.failures + 1
    if failures > job.max_retries:
        return JobState.FAILED, None
    return JobState.QUEUED, int(policy.delay_seconds(failures, jitter) * 1000)


def _moved(job: Overdue, to: JobState, run_at_ms: int) -> Moved:
    return Moved(
        job_id=job.job_id,
        pool=job.pool,
        type=job.type,
        tenant=job.tenant,
        attempt=job.attempt,
        to=to,
        score=job.score,
        run_at_ms=run_at_ms,
        token=job.claim_token,
        retried=True,
    )


async def _tell(parts: Parts, moved: Sequence[Moved]) -> None:
    if not moved:
        return
    for item in moved:
        log.warning("recovery.overdue", job_id=item.job_id, pool=item.pool, attempt=item.attempt, to=item.to.value)
    await push_moved(parts, moved)
    await announce_moved(parts, moved)
