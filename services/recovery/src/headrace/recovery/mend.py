"""Carry out what `judge` decided. Each call to Redis is guarded by what was read, so a late one changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from headrace.recovery.counts import Counts
from headrace.recovery.ghosts import Suspects
from headrace.recovery.judge import SWEEP_AFTER_MS, Drift, Mending
from headrace.recovery.parts import Parts
from headrace.runtime.queue import Entry, InFlight, Verdict


class Mender:
    """Mends differences in one pool at a time."""

    def __init__(self, parts: Parts, suspects: Suspects) -> None:
        self._queue = parts.queue
        self._suspects = suspects
        self._ways: dict[Mending, Callable[[str, Sequence[Drift]], Awaitable[int]]] = {
            Mending.FORGET: self._forget,
            Mending.SUSPECT: self._suspect,
            Mending.SWEEP: self._sweep,
            Mending.RESCORE: self._rescore,
            Mending.RELOCATE: self._relocate,
            Mending.ADOPT: self._adopt,
            Mending.ENQUEUE: self._enqueue,
        }

    async def mend(self, pool: str, drifts: Sequence[Drift]) -> Counts:
        """Mend all of them.

        Returns:
            How many were mended, by kind of drift. Suspects are not: they are looked at again first.

        Raises:
            StoreUnavailableError: Redis does not answer or is full; what comes before it in the order of `Mending` is
                done.
        """
        counts: Counts = Counter()
        for mending, way in self._ways.items():
            chosen = [drift for drift in drifts if drift.mending is mending]
            if chosen:
                mended = await way(pool, chosen)
                if mended:
                    counts[chosen[0].kind.value] += mended
        return counts

    async def _forget(self, pool: str, drifts: Sequence[Drift]) -> int:
        return await self._queue.settle(pool, [drift.standing.id for drift in drifts])

    async def _suspect(self, pool: str, drifts: Sequence[Drift]) -> int:
        self._suspects.add(pool, [drift.standing.id for drift in drifts])
        return 0

    async def _sweep(self, pool: str, drifts: Sequence[Drift]) -> int:
        seen = [InFlight(drift.located.id, drift.located.score or 0, drift.located.token) for drift in drifts]
        verdicts = [
            Verdict(drift.standing.id, "delayed", due_ms=drift.standing.run_at_ms, score=drift.standing.score)
            for drift in drifts
        ]
        return await self._queue.sweep(pool, seen=seen, verdicts=verdicts, min_age_ms=SWEEP_AFTER_MS)

    async def _rescore(self, pool: str, drifts: Sequence[Drift]) -> int:
        return await self._queue.rescore(pool, [_entry(drift) for drift in drifts])

    async def _relocate(self, pool: str, drifts: Sequence[Drift]) -> int:
        return await self._queue.relocate(pool, [(drift.located, _entry(drift)) for drift in drifts])

    async def _adopt(self, pool: str, drifts: Sequence[Drift]) -> int:
        return await self._queue.adopt(
            pool,
            [
                InFlight(drift.standing.id, drift.standing.claimed_ms, drift.standing.claim_token or None)
                for drift in drifts
            ],
        )

    async def _enqueue(self, pool: str, drifts: Sequence[Drift]) -> int:
        return await self._queue.enqueue(pool, [_entry(drift) for drift in drifts])


def _entry(drift: Drift) -> Entry:
    # A due time that is over means "now" to Redis, whatever its clock says.
    return Entry(drift.standing.id, drift.standing.score, due_ms=drift.standing.run_at_ms)
