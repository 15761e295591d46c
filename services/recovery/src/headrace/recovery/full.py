"""The full comparison of Redis with MongoDB, in both directions; what it finds at rest must be nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import get_args

import structlog

from headrace.contracts.states import JobState
from headrace.recovery.counts import Counts
from headrace.recovery.judge import Drift, DriftKind, judge
from headrace.recovery.mend import Mender
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.recovery.recent import find_drift
from headrace.runtime.queue import SetName

PAGE = 1000
_SETS: tuple[SetName, ...] = tuple(name for name in get_args(SetName) if name != "reserved")

log = structlog.get_logger(__name__)


class FullPass:
    """Compares everything, pool by pool.

    Args:
        parts: The open stores.
        pools: The pools to go through.
        mender: Mends what is found; None only counts.
        go_on: Asked between pages; False ends the pass early.
    """

    name = "full_pass"

    def __init__(
        self, parts: Parts, pools: Pools, mender: Mender | None, *, go_on: Callable[[], bool] = lambda: True
    ) -> None:
        self._parts = parts
        self._pools = pools
        self._mender = mender
        self._go_on = go_on
        self.seconds = parts.config.recovery_interval_seconds
        self.drift: dict[str, Counts] = {}
        """What the last pass found: pool → kind → how many."""

    @property
    def drift_by_kind(self) -> Counts:
        """What the last pass found, over all pools; every kind is there."""
        total = Counts({kind.value: 0 for kind in DriftKind})
        for counts in self.drift.values():
            total.update(counts)
        return total

    async def run_once(self) -> Counts:
        """Compare every pool that is complete; one that is not is the rebuild's.

        Returns:
            What was mended, by kind.
        """
        self.drift = {}
        mended = await self._pools.each(self._compare)
        if sum(self.drift_by_kind.values()):
            log.warning("recovery.drift_found", mended=sum(mended.values()), **self.drift_by_kind)
        return mended

    async def _compare(self, pool: str) -> Counts:
        if self._mender is not None and not await self._parts.queue.is_complete(pool):
            return Counts()
        found, mended = Counts(), Counts()
        self.drift[pool] = found
        async with aclosing(self._differences(pool)) as differences:
            async for drifts in differences:
                if self._mender is not None and not await self._parts.queue.is_complete(pool):
                    # Lost since the pass began: everything would be missing, and the rebuild needs the time.
                    found.clear()
                    log.info("recovery.full_pass_gives_way", pool=pool)
                    break
                found.update(drift.kind.value for drift in drifts)
                if self._mender is not None:
                    mended += await self._mender.mend(pool, drifts)
                if not self._go_on():
                    break
            else:
                if self._mender is not None and (gone := await self._parts.queue.tidy(pool)):
                    # An id that vanished out of its set by another hand; the id itself was found missing above.
                    log.warning("recovery.leftovers_removed", pool=pool, count=gone)
        return mended

    async def _differences(self, pool: str) -> AsyncGenerator[list[Drift], None]:
        for state in (JobState.QUEUED, JobState.PROCESSING):
            async with aclosing(self._parts.reconcile.stream(pool, state, page=PAGE)) as pages:
                async for standings in pages:
                    yield await find_drift(self._parts, pool, standings)
        for place in _SETS:
            cursor = 0
            while True:
                cursor, members = await self._parts.queue.members(pool, place, cursor=cursor, count=PAGE)
                yield await self._ghosts(pool, [job_id for job_id, _ in members])
                if cursor == 0:
                    break

    async def _ghosts(self, pool: str, ids: list[str]) -> list[Drift]:
        """Ids without a job that is not over. Those of jobs were compared from the other side."""
        standings = {standing.id: standing for standing in await self._parts.reconcile.standings(ids)}
        idle = [
            standing.id
            for standing in standings.values()
            if standing.state is None or standing.state.is_terminal or standing.pool != pool
        ]
        # Where they are is asked after the documents were read: a job that ended meanwhile is on its way out.
        now_ms = await self._parts.queue.time_ms()
        drifts = [
            judge(pool, standings[found.id], found, now_ms=now_ms)
            for found in (await self._parts.queue.locate(pool, idle) if idle else [])
        ]
        return [drift for drift in drifts if drift is not None]
