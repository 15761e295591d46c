"""Ids that were popped by a child that died before it claimed them: they wait again at once."""

from __future__ import annotations

import structlog

from headrace.contracts.states import JobState
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue import Entry, InFlight

AFTER_MS = 1000
"""Younger ids are left alone: their child may have registered, popped and died within what one look takes."""
PAGE = 1000
MAX_PAGES = 10

log = structlog.get_logger(__name__)


class DeadClaimsDuty:
    """Hands back queued jobs whose id is in flight under the token of an incarnation that is dead or unknown.

    A token names its incarnation (`<incarnation>.<random>`), so there is no need to wait for the deadline of a claim,
    as the sweep must. A claim of the dead that is still on its way to MongoDB and comes later does no harm: whoever
    pops the id then is refused, and the orphan pass hands the job back.
    """

    name = "dead_claims"
    seconds = 0.5

    def __init__(self, parts: Parts, pools: Pools) -> None:
        self._parts = parts
        self._pools = pools

    async def run_once(self) -> Counts:
        """Look at every pool once."""
        return await self._pools.each(self._hand_back)

    async def _hand_back(self, pool: str) -> Counts:
        counts = Counts()
        by_holder = await self._young(pool)
        dead = await self._parts.incarnations.not_alive(by_holder)
        held = [entry for holder in dead for entry in by_holder[holder]]
        for first in range(0, len(held), PAGE):
            counts += await self._place(pool, held[first : first + PAGE])
        if counts:
            log.warning("recovery.dead_claims_handed_back", pool=pool, count=counts["dead_claim"])
        return counts

    async def _young(self, pool: str) -> dict[str, list[InFlight]]:
        """What is in flight under tokens that name a holder, by holder."""
        found: dict[str, list[InFlight]] = {}
        for page in range(MAX_PAGES):
            seen = await self._parts.queue.in_flight(pool, older_than_ms=AFTER_MS, limit=PAGE, offset=PAGE * page)
            for entry in seen:
                holder, dot, _ = (entry.token or "").rpartition(".")
                if dot:
                    found.setdefault(holder, []).append(entry)
            if len(seen) < PAGE:
                break
        return found

    async def _place(self, pool: str, held: list[InFlight]) -> Counts:
        tokens = {entry.id: entry.token or "" for entry in held}
        standings = await self._parts.reconcile.standings(list(tokens))
        await afp("between_dead_claims_look_and_move")
        entries = [
            # Acts only while the id is in flight under this very token, which nobody uses again.
            Entry(item.id, item.score, due_ms=item.run_at_ms, token=tokens[item.id])
            for item in standings
            if item.state is JobState.QUEUED and item.pool == pool
        ]
        if not entries:
            return Counts()
        return +Counts({"dead_claim": await self._parts.queue.requeue(pool, entries)})
