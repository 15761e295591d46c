"""Jobs that had to start by a time that is over: failed in MongoDB, then forgotten by Redis."""

from __future__ import annotations

from collections import defaultdict

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.recovery.announce import announce_ended
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts

log = structlog.get_logger(__name__)


class ExpiryDuty:
    """Fails jobs that were not started in time."""

    name = "expiry"
    seconds = 1.0

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run_once(self) -> Counts:
        """Fail up to a thousand jobs.

        Raises:
            StoreUnavailableError: MongoDB does not answer. Redis not answering is no failure of this duty.
        """
        found = await self._parts.reads.expired_ids()
        if not found:
            return Counts()
        expired = await self._parts.jobs.expire([job_id for _, job_id in found])
        await self._forget(found)
        if expired:
            await announce_ended(self._parts, [job_id for _, job_id in found])
            log.info("recovery.jobs_expired", count=expired)
        return +Counts({"expired": expired})

    async def _forget(self, found: list[tuple[str, str]]) -> None:
        # Some may have been claimed before they were failed, so only what is over now leaves Redis.
        standings = await self._parts.reconcile.standings([job_id for _, job_id in found])
        over: dict[str, list[str]] = defaultdict(list)
        for standing in standings:
            if standing.state is not None and standing.state.is_terminal:
                over[standing.pool or ""].append(standing.id)
        try:
            for pool, ids in over.items():
                await self._parts.queue.settle(pool, ids)
        except StoreUnavailableError as error:
            log.warning("recovery.expired_not_forgotten", count=len(found), error=error.detail)
