"""Places whose time is past: their jobs are pushed, or they are freed. Until somebody has looked they count."""

from __future__ import annotations

import structlog

from headrace.contracts.states import JobState
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.runtime.queue import Entry, InFlight

log = structlog.get_logger(__name__)


class ReservationDuty:
    """Resolves places that a scheduler left behind."""

    name = "reservations"
    seconds = 1.0

    def __init__(self, parts: Parts, pools: Pools) -> None:
        self._parts = parts
        self._pools = pools

    async def run_once(self) -> Counts:
        """Resolve up to a thousand places of each pool."""
        return await self._pools.each(self._resolve)

    async def _resolve(self, pool: str) -> Counts:
        queue = self._parts.queue
        ids = await queue.expired_reservations(pool)
        if not ids:
            return Counts()
        standings = await self._parts.reconcile.standings(ids)
        known = [item for item in standings if item.state is not None and item.pool == pool]
        known_ids = {item.id for item in known}
        free = [job_id for job_id in ids if job_id not in known_ids]
        waiting = [Entry(item.id, item.score, item.run_at_ms) for item in known if item.state is JobState.QUEUED]
        running = [
            InFlight(item.id, item.claimed_ms, item.claim_token or None)
            for item in known
            if item.state is JobState.PROCESSING
        ]
        over = [item.id for item in known if item.state is not None and item.state.is_terminal]
        # What gives places back comes first: it works on a full Redis too.
        counts = Counts({"place_freed": await queue.free(pool, free) + await queue.settle(pool, over)})
        counts["place_filled"] = await queue.adopt(pool, running) + await queue.enqueue(pool, waiting)
        counts += Counts()  # drops the zeros
        if counts:
            log.warning("recovery.places_resolved", pool=pool, **counts)
        return counts
