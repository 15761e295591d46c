"""Processing jobs whose worker is dead go back to the queue, or end: MongoDB first, then Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import Incarnation
from headrace.contracts.states import JobState
from headrace.recovery.announce import announce_moved
from headrace.recovery.counts import Counts
from headrace.recovery.parts import NAME, Parts
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue import Entry
from headrace.runtime.store.orphans import Orphan, OrphanDecision, decide_orphan

BATCH = 500
AT_ONCE = 16
"""Updates under way together: each waits for a majority, and they share the server's flush."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Moved:
    orphan: Orphan
    decision: OrphanDecision
    to: JobState


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
        moved = [result for result in results if isinstance(result, _Moved)]
        await afp("between_hand_back_and_push")
        await self._push(moved)
        await announce_moved(self._parts, [(item.orphan, item.to) for item in moved])
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return Counts(_reason(item) for item in moved)

    async def _move(self, orphan: Orphan, owner: Incarnation | None) -> _Moved | None:
        decision = decide_orphan(orphan, owner, max_crashes=self._parts.config.max_crashes)
        to = await self._parts.jobs.hand_back(orphan, decision, by=NAME)
        if to is None:
            log.debug("recovery.orphan_settled_elsewhere", job_id=orphan.job_id, attempt=orphan.attempt)
            return None
        moved = _Moved(orphan, decision, to)
        log.warning(
            "recovery.orphan",
            job_id=orphan.job_id,
            pool=orphan.pool,
            attempt=orphan.attempt,
            owner=orphan.owner,
            to=to.value,
            reason=_reason(moved),
            crashes=decision.crashes,
        )
        return moved

    async def _push(self, moved: Sequence[_Moved]) -> None:
        # Best effort, once: the truth is written, and what is lost here is found within seconds.
        queue = self._parts.queue
        try:
            for pool in sorted({item.orphan.pool for item in moved}):
                here = [item for item in moved if item.orphan.pool == pool]
                entries = [
                    Entry(item.orphan.job_id, item.orphan.score, item.orphan.run_at_ms, item.orphan.claim_token)
                    for item in here
                    if item.to is JobState.QUEUED
                ]
                await queue.requeue(pool, entries)
                await queue.settle(pool, [item.orphan.job_id for item in here if item.to.is_terminal])
        except StoreUnavailableError as error:
            log.warning("recovery.orphans_not_pushed", count=len(moved), error=error.detail)


def _reason(moved: _Moved) -> str:
    return "cancelled" if moved.to is JobState.CANCELLED else moved.decision.reason.value
