"""Processing jobs whose worker is dead go back to the queue, or end: MongoDB first, then Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from headrace.contracts.heartbeat import Incarnation
from headrace.contracts.states import JobState
from headrace.recovery.announce import announce_moved
from headrace.recovery.counts import Counts
from headrace.recovery.moved import Moved, push_moved
from headrace.recovery.parts import NAME, Parts
from headrace.runtime.process.failpoints import afp
from headrace.runtime.store.orphans import Orphan, decide_orphan

BATCH = 500
AT_ONCE = 16
"""Updates under way together: each waits for a majority, and they share the server's flush."""

log = structlog.get_logger(__name__)


class OrphanDuty:
    """Hands back what dead incarnations hold. Starts from the jobs, so a claim applied after a death is found too.

    A kill between the two stores leaves the id in flight under its old token or nowhere: sweep and reconcile find it.
    """

    name = "orphans"
    seconds = 1.0

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run_once(self) -> Counts:
        """Hand back one batch.

        Raises:
            StoreUnavailableError: MongoDB does not answer. Redis not answering is no failure of this duty.
        """
        counts = Counts()
        found = await self._parts.jobs.orphans(self._parts.incarnations.collection, limit=BATCH)
        for first in range(0, len(found), AT_ONCE):
            counts += await self._hand_back(found[first : first + AT_ONCE])
        return counts

    async def _hand_back(self, found: Sequence[tuple[Orphan, Incarnation | None]]) -> Counts:
        await afp("between_select_and_update")
        results = await asyncio.gather(*(self._move(*item) for item in found), return_exceptions=True)
        moved = [result for result in results if isinstance(result, tuple)]
        await afp("between_hand_back_and_push")
        jobs = [job for job, _ in moved]
        await push_moved(self._parts, jobs)
        await afp("after_push")
        await announce_moved(self._parts, jobs)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return Counts(reason for _, reason in moved)

    async def _move(self, orphan: Orphan, owner: Incarnation | None) -> tuple[Moved, str] | None:
        """Hand one back: what was done and its reason; None when somebody else was faster."""
        decision = decide_orphan(orphan, owner, max_crashes=self._parts.config.max_crashes)
        to = await self._parts.jobs.hand_back(orphan, decision, by=NAME)
        if to is None:
            log.debug("recovery.orphan_settled_elsewhere", job_id=orphan.job_id, attempt=orphan.attempt)
            return None
        reason = "cancelled" if to is JobState.CANCELLED else decision.reason.value
        log.warning(
            "recovery.orphan",
            job_id=orphan.job_id,
            pool=orphan.pool,
            attempt=orphan.attempt,
            owner=orphan.owner,
            to=to.value,
            reason=reason,
            crashes=decision.crashes,
        )
        moved = Moved(
            job_id=orphan.job_id,
            pool=orphan.pool,
            type=orphan.type,
            tenant=orphan.tenant,
            attempt=orphan.attempt,
            to=to,
            score=orphan.score,
            run_at_ms=orphan.run_at_ms,
            token=orphan.claim_token,
        )
        return moved, reason
