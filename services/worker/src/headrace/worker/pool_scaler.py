"""Sizes the pools: reads what waits and what operators have set, measures what runs, and tells the manager."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue.base import JobQueue
from headrace.runtime.store.pools import Pools, PoolSettings
from headrace.worker.autoscale import Demand, Trend, share_slots, slots_wanted
from headrace.worker.pool_manager import WorkerPoolManager
from headrace.worker.pools import PoolSpec

SETTINGS_SECONDS = 1.0
MEMORY = 0.5
"""How much of a run time's estimate is the newest measurement."""

log = structlog.get_logger(__name__)


@dataclass
class _Measured:
    """What is known of one pool between two passes."""

    trend: Trend = field(default_factory=Trend)
    run_seconds: float | None = None
    unserved_since: float | None = None


class PoolScaler:
    """Decides how many slots each pool of a service gets.

    Args:
        manager: Whose pools are sized.
        specs: The pools as file and defaults size them.
        queue: Where backlogs are read.
        settings: Sizes that operators change at run time; they count for each worker service.
        max_workers: `JOB_MAX_WORKERS`.
    """

    def __init__(
        self,
        manager: WorkerPoolManager,
        specs: Mapping[str, PoolSpec],
        *,
        queue: JobQueue,
        settings: Pools,
        max_workers: int,
    ) -> None:
        self._manager = manager
        self._given, self._specs = dict(specs), dict(specs)
        self._queue = queue
        self._settings = settings
        self._max_workers = max_workers
        self._measured = {pool: _Measured() for pool in specs}
        self._seen: dict[str, tuple[int, float]] = {}
        """Incarnation → runs that had ended at the last pass, and their seconds."""
        self._settings_at: float | None = None
        self._share(dict.fromkeys(specs, 0), time.monotonic())

    async def run_once(self) -> None:
        """One pass. Without Redis nothing is known to wait; every pool keeps what it has, and at least one slot."""
        await self._follow_settings()
        backlogs = await asyncio.gather(*map(self._backlog, self._specs))
        now = time.monotonic()
        self._manager.specs = self._specs
        wants = {pool: self._wanted(pool, backlog, now) for pool, backlog in zip(self._specs, backlogs, strict=True)}
        self._share(wants, now)

    async def _follow_settings(self) -> None:
        now = time.monotonic()
        if self._settings_at is not None and now - self._settings_at < SETTINGS_SECONDS:
            return
        self._settings_at = now
        try:
            found = await self._settings.all()
        except StoreUnavailableError as error:
            log.debug("pools.settings_not_read", detail=str(error))
            return
        self._resize(found)

    def _resize(self, found: Mapping[str, PoolSettings]) -> None:
        for pool, spec in self._given.items():
            resized = spec.resized(found.get(pool), max_workers=self._max_workers)
            if resized != self._specs[pool]:
                log.info("pools.limits_changed", pool=pool, min_slots=resized.min_slots, max_slots=resized.max_slots)
                self._specs[pool] = resized

    async def _backlog(self, pool: str) -> int | None:
        try:
            depths = await self._queue.depths(pool)
        except StoreUnavailableError:
            return None
        return 0 if depths.paused else sum(depths.waiting.values()) + depths.due

    def _wanted(self, pool: str, backlog: int | None, now: float) -> int:
        measured, rules = self._measured[pool], self._specs[pool].autoscale
        busy, run_seconds = self._look(pool, now)
        wanted = slots_wanted(
            backlog=backlog,
            busy=busy,
            current=self._manager.targets[pool],
            run_seconds=run_seconds,
            target_seconds=rules.target_seconds,
        )
        return measured.trend.settle(now, wanted, rules)

    def _look(self, pool: str, now: float) -> tuple[int, float | None]:
        """Slots in use, and how long a job takes: by those that ended lately, or longer if those that run are older."""
        measured = self._measured[pool]
        jobs, seconds, ages = 0, 0.0, []
        for child in self._manager.children(pool):
            ended = child.board.ended()
            before = self._seen.get(child.incarnation, (0, 0.0))
            self._seen[child.incarnation] = ended
            jobs, seconds = jobs + ended[0] - before[0], seconds + ended[1] - before[1]
            ages += [now - job.since for job in child.board.running()]
        if jobs > 0:
            newest, known = seconds / jobs, measured.run_seconds
            measured.run_seconds = newest if known is None else known + MEMORY * (newest - known)
        if not ages:
            return 0, measured.run_seconds
        mean_age = sum(ages) / len(ages)
        return len(ages), None if measured.run_seconds is None else max(measured.run_seconds, mean_age)

    def _share(self, wants: Mapping[str, int], now: float) -> None:
        demands = []
        for pool, wanted in wants.items():
            spec, measured = self._specs[pool], self._measured[pool]
            served = any(child.board.allowed for child in self._manager.children(pool))
            if served or wanted <= 0:
                measured.unserved_since = None
            elif measured.unserved_since is None:
                measured.unserved_since = now
            waited = 0.0 if measured.unserved_since is None else now - measured.unserved_since
            demands.append(Demand(pool, wanted, spec.min_slots, spec.max_slots, self._manager.targets[pool], waited))
        self._manager.resize(share_slots(demands, total=self._max_workers))
        alive = {child.incarnation for child in self._manager.children()}
        self._seen = {incarnation: seen for incarnation, seen in self._seen.items() if incarnation in alive}
