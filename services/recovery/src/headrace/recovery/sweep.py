"""Ids that stayed in flight: popped and never claimed, handed back and never pushed, or over."""

from __future__ import annotations

import structlog

from headrace.contracts.states import JobState
from headrace.recovery.counts import Counts
from headrace.recovery.ghosts import Suspects
from headrace.recovery.judge import SETTLE_MS, SWEEP_AFTER_MS
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue import InFlight, Verdict
from headrace.runtime.store.reconcile_reads import Standing

PAGE = 1000
MAX_PAGES = 10

log = structlog.get_logger(__name__)


class SweepDuty:
    """Puts old in-flight ids where their documents say. Running jobs stay.

    Age alone decides, not whose claim it was: the claim of a live child may only be slow. What a dead child popped is
    handed back sooner, by `DeadClaimsDuty`.
    """

    name = "sweep"
    seconds = 1.0

    def __init__(self, parts: Parts, pools: Pools, suspects: Suspects) -> None:
        self._parts = parts
        self._pools = pools
        self._suspects = suspects

    async def run_once(self) -> Counts:
        """Sweep every pool once, and promote what is due where nobody claims."""
        return await self._pools.each(self._sweep)

    async def _sweep(self, pool: str) -> Counts:
        await self._parts.queue.promote(pool)
        counts = Counts()
        for seen in await self._old(pool):
            standings = await self._parts.reconcile.standings([entry.id for entry in seen])
            await afp("between_sweep_look_and_move")
            counts += await self._place(pool, seen, standings)
        if counts:
            log.warning("recovery.swept", pool=pool, **counts)
        return counts

    async def _old(self, pool: str) -> list[list[InFlight]]:
        pages: list[list[InFlight]] = []
        while len(pages) < MAX_PAGES:
            page = await self._parts.queue.in_flight(
                pool, older_than_ms=SWEEP_AFTER_MS, limit=PAGE, offset=PAGE * len(pages)
            )
            if page:
                pages.append(page)
            if len(page) < PAGE:
                break
        return pages

    async def _place(self, pool: str, seen: list[InFlight], standings: list[Standing]) -> Counts:
        self._suspects.add(pool, [standing.id for standing in standings if standing.state is None])
        waiting, over = [], []
        for standing in standings:
            if standing.state is None or standing.state is JobState.PROCESSING:
                continue
            if standing.changed_ms_ago < SETTLE_MS:
                continue  # a long run that ended just now: whoever ended it says so to Redis next
            if standing.state.is_terminal or standing.pool != pool:
                over.append(Verdict(standing.id, "drop"))
            else:
                waiting.append(Verdict(standing.id, "delayed", due_ms=standing.run_at_ms, score=standing.score))
        counts = Counts()
        for kind, verdicts in (("stuck_inflight", waiting), ("ghost", over)):
            if verdicts:
                moved = await self._parts.queue.sweep(pool, seen=seen, verdicts=verdicts, min_age_ms=SWEEP_AFTER_MS)
                counts += Counts({kind: moved})
        return counts
