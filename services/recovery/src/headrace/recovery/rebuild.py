"""Fill an emptied, restarted or restored Redis from MongoDB, pool by pool; adds only, so it may be cut anywhere."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from headrace.contracts.states import JobState
from headrace.recovery.counts import Counts
from headrace.recovery.parts import Parts
from headrace.recovery.pools import Pools
from headrace.recovery.read_ahead import read_ahead
from headrace.runtime.process.failpoints import afp
from headrace.runtime.queue import Entry, InFlight
from headrace.runtime.store.reconcile_reads import Standing

FIRST_PAGE = 500
"""Of every pool before the rest of any: claims are allowed from then on."""
PAGE = 5000
CHANGED_PAGE = 1000
POOLS_AT_ONCE = 4
"""A pool is some fifteen calls one after the other, however few jobs it has."""
OVERLAP = timedelta(seconds=30)
MAX_LATE_SECONDS = 1.0
"""How long the end of a rebuild may be on its way to Redis: longer, and jobs were stored that nobody could push."""

log = structlog.get_logger(__name__)


@dataclass
class _Rebuild:
    pool: str
    marker: str
    began: float
    now: datetime
    """MongoDB's clock when it began: what is due by then is added as ready, out of the index alone."""
    added: int = 0
    score: int = 0
    """Everything that was due and stands before this has been added."""


class RebuildDuty:
    """Notices pools that are not complete, and completes them.

    Order: the pause (the truth is in MongoDB), the first page of every pool, running jobs, the rest in claim order,
    what is due later, what changed since the start, then the epoch. A loss in the middle takes the marker away, so the
    end is refused and the next pass begins again; so it is when Redis takes it late. As long as the marker stands
    nothing that was added is lost, so the next pass goes on where one failed or had to stop: a rebuild ends also where
    no single pass gets to its end.

    Args:
        parts: The open stores.
        pools: The pools to look at.
        go_on: Asked between pages; False ends the pass without completing anything.
    """

    name = "rebuild"
    seconds = 0.5
    """What an emptied Redis may go unnoticed for."""

    def __init__(self, parts: Parts, pools: Pools, *, go_on: Callable[[], bool] = lambda: True) -> None:
        self._parts = parts
        self._pools = pools
        self._go_on = go_on
        self._open: dict[str, _Rebuild] = {}

    async def run_once(self) -> Counts:
        """Complete every pool that is not.

        Returns:
            `pool_rebuilt`: pools completed; `rebuilt`: the ids that were added to them.

        Raises:
            StoreUnavailableError: A store does not answer, or Redis is full. What was added stays.
        """
        begun: list[_Rebuild] = []
        failure: Exception | None = None

        async def begin(pool: str) -> Counts:
            if not await self._parts.queue.is_complete(pool):
                begun.append(await self._begin(pool))
            return Counts()

        async def finish(pool: str) -> Counts:
            counts = Counts()
            for rebuild in begun:
                if rebuild.pool == pool and await self._finish(rebuild):
                    counts += Counts({"rebuilt": rebuild.added, "pool_rebuilt": 1})
            return counts

        try:
            await self._pools.each(begin, at_once=POOLS_AT_ONCE)
        except Exception as error:  # noqa: BLE001 -- raised below; a pool that cannot begin does not keep others empty
            failure = error
        counts = await self._pools.each(finish, at_once=POOLS_AT_ONCE) if begun else Counts()
        if failure is not None:
            raise failure
        return counts

    async def _begin(self, pool: str) -> _Rebuild:
        began = time.monotonic()
        marker = await self._parts.queue.begin_rebuild(pool)
        reason = (await self._parts.reads.paused()).get(pool)
        await self._parts.queue.pause(pool, reason is not None, reason or "")
        known = self._open.get(pool)
        if known is not None and known.marker == marker:
            log.warning("recovery.rebuild_resumed", pool=pool, added=known.added)
            return known
        log.warning("recovery.rebuild_started", pool=pool)
        rebuild = _Rebuild(pool, marker, began, await self._parts.reconcile.now())
        await self._add_first(rebuild)
        async with aclosing(self._parts.reconcile.stream(pool, JobState.PROCESSING, page=CHANGED_PAGE)) as pages:
            async for running in pages:
                await self._adopt(rebuild, running)
        self._open[pool] = rebuild
        return rebuild

    async def _add_first(self, rebuild: _Rebuild) -> None:
        async with aclosing(self._parts.reconcile.due(rebuild.pool, now=rebuild.now, page=FIRST_PAGE)) as pages:
            async for page in pages:
                await self._refill(rebuild, page)
                return

    async def _finish(self, rebuild: _Rebuild) -> bool:
        # The index has no order of times, so finding what is due later takes a walk over all of it: the store does it
        # while what is due is being added.
        later = self._parts.reconcile.delayed(rebuild.pool, now=rebuild.now, page=CHANGED_PAGE)
        async with read_ahead(later) as delayed:
            if not (await self._add_due(rebuild) and await self._add_delayed(rebuild, delayed)):
                return False
        # Both before the last look: what is stored after it must find a pool that is complete, or be found by another.
        redis_ms, looked = await self._parts.queue.time_ms(), time.monotonic()
        if not await self._add_changed(rebuild):
            return False
        await afp("before_finish_rebuild")
        by_ms = redis_ms + int((time.monotonic() - looked + MAX_LATE_SECONDS) * 1000)
        if not await self._parts.queue.finish_rebuild(rebuild.pool, rebuild.marker, by_ms=by_ms):
            log.warning("recovery.rebuild_not_finished", pool=rebuild.pool)
            return False
        self._open.pop(rebuild.pool, None)
        await afp("after_finish_rebuild")
        seconds = round(time.monotonic() - rebuild.began, 3)
        log.info("recovery.rebuild_finished", pool=rebuild.pool, added=rebuild.added, seconds=seconds)
        return True

    async def _add_due(self, rebuild: _Rebuild) -> bool:
        """Stream what is due: MongoDB reads pages while Redis takes the ones before. False: told to stop."""
        due = self._parts.reconcile.due(rebuild.pool, now=rebuild.now, page=PAGE, from_score=rebuild.score)
        async with read_ahead(due) as pages:
            async for page in pages:
                await afp("during_rebuild")
                if not self._go_on():
                    return False
                await self._refill(rebuild, page)
                rebuild.score = page[-1][1]
        return True

    async def _refill(self, rebuild: _Rebuild, page: list[tuple[str, int]]) -> None:
        rebuild.added += await self._parts.queue.refill(rebuild.pool, page)

    async def _add_delayed(self, rebuild: _Rebuild, pages: AsyncIterator[list[Standing]]) -> bool:
        """Add what is due later. False: told to stop."""
        async for page in pages:
            await self._enqueue(rebuild, page)
            if not self._go_on():
                return False
        return True

    async def _enqueue(self, rebuild: _Rebuild, waiting: list[Standing]) -> None:
        entries = [Entry(item.id, item.score, due_ms=item.run_at_ms) for item in waiting]
        rebuild.added += await self._parts.queue.enqueue(rebuild.pool, entries)

    async def _adopt(self, rebuild: _Rebuild, running: list[Standing]) -> None:
        entries = [InFlight(item.id, item.claimed_ms, item.claim_token or None) for item in running]
        rebuild.added += await self._parts.queue.adopt(rebuild.pool, entries)

    async def _add_changed(self, rebuild: _Rebuild) -> bool:
        """Add what came behind the walk, or could not be pushed by its producer meanwhile. False: told to stop."""
        began = after = rebuild.now - OVERLAP
        until = await self._parts.reconcile.now() + OVERLAP  # whatever comes while this goes on
        while True:
            page = await self._parts.reconcile.changed(after=after, until=until, limit=CHANGED_PAGE)
            here = [item for item in page.standings if item.pool == rebuild.pool]
            await self._enqueue(rebuild, [item for item in here if item.state is JobState.QUEUED])
            if page.last is None:
                break
            if not self._go_on():
                return False
            after = page.last
        running = await self._parts.reconcile.running(after=began)
        await self._adopt(rebuild, [item for item in running if item.pool == rebuild.pool])
        return True
