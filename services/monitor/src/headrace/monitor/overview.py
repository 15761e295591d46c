"""The overview: read everything at once, judge it, keep it for a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.contracts.config import JobConfig
from headrace.contracts.heartbeat import Heartbeat
from headrace.contracts.job import Job
from headrace.monitor import attention, parts, workers
from headrace.monitor.scheduler_source import SchedulerSource
from headrace.monitor.sources import MongoSource, QueueFacts, RedisSource, StoreFacts
from headrace.monitor.views import LIVING, OverviewView, PoolView, WorkerView
from headrace.runtime.queue import Depths
from headrace.runtime.store.breakers import DependencyBreaker
from headrace.runtime.store.pools import PoolSettings

KEEP_SECONDS = 1.0


@dataclass(frozen=True)
class Picture:
    """The overview and the jobs that the page lists beside it; None where MongoDB did not say."""

    view: OverviewView
    failures: list[Job] | None
    running: list[Job] | None
    beats: Sequence[Heartbeat]
    breakers: Sequence[DependencyBreaker]
    settings: Mapping[str, PoolSettings]
    not_indexed: int | None


class Overview:
    """Draws the picture. However many ask, the stores are read once a second.

    Args:
        config: Heartbeat interval and lease, to judge workers by.
        mongo: Read for counts, lists, leases and pools.
        redis: Read for depths and heartbeats.
        scheduler: Asked whether it is ready.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: JobConfig,
        *,
        mongo: MongoSource,
        redis: RedisSource,
        scheduler: SchedulerSource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_seconds = config.worker_heartbeat_seconds
        self._lease_seconds = config.lease_seconds
        self._size_limit = config.queue_size_limit
        self._mongo = mongo
        self._redis = redis
        self._scheduler = scheduler
        self._clock = clock
        self._lock = asyncio.Lock()
        self._kept: tuple[float, Picture] | None = None
        self._changed_at = float("-inf")
        self._pools: set[str] = set()

    async def picture(self) -> Picture:
        """The picture, not older than a second. Takes at most about three seconds, whatever is down."""
        async with self._lock:
            if self._kept is None or self._is_over(began_at=self._kept[0]):
                self._kept = (self._clock(), await self._draw())
            return self._kept[1]

    def look_again(self) -> None:
        """Draw anew for whoever asks next: something was just changed here, and is to be seen."""
        self._changed_at = self._clock()

    def _is_over(self, *, began_at: float) -> bool:
        return began_at <= self._changed_at or self._clock() - began_at >= KEEP_SECONDS

    async def _draw(self) -> Picture:
        # When looking began: nothing that is shown was asked for before.
        now = datetime.now(UTC)
        store, queue, scheduler = await asyncio.gather(
            self._mongo.facts(), self._redis.facts(), self._scheduler.facts()
        )
        # Remembered, so that pools stay visible while the store that names them is away.
        self._pools |= {*(item.pool for item in store.types or ()), *(store.settings or ())}
        self._pools |= {incarnation.pool for incarnation in store.incarnations or ()}
        self._pools |= {child.pool for beat in queue.beats for child in beat.children}
        names = sorted(self._pools)
        depths, ended = await asyncio.gather(self._depths(names, queue), self._ended(store, queue))
        if queue.reason:
            living_workers = workers.from_leases(store.incarnations or (), now)
        else:
            living_workers = workers.from_beats(
                queue.beats,
                queue.now_ms,
                interval_seconds=self._interval_seconds,
                lease_seconds=self._lease_seconds,
                ended=ended,
            )
        pools = [
            _pool(name, depths.get(name), store, queue, living_workers, default_limit=self._size_limit)
            for name in names
        ]
        recovery = parts.recovery_view(store)
        all_parts = [
            *parts.store_parts(store, queue, pools),
            parts.scheduler_part(scheduler),
            parts.recovery_part(recovery),
            *parts.worker_parts(living_workers, known=not (queue.reason and store.incarnations is None)),
        ]
        view = OverviewView(
            status=parts.overall(all_parts),
            parts=all_parts,
            jobs=store.counts or {},
            pools=pools,
            workers=living_workers,
            recovery=recovery,
            attention=attention.list_of(all_parts, pools, store),
            at=now,
        )
        return Picture(
            view=view,
            failures=store.failures,
            running=store.running,
            beats=queue.beats,
            breakers=store.breakers or (),
            settings=store.settings or {},
            not_indexed=store.not_indexed,
        )

    async def _depths(self, names: Sequence[str], queue: QueueFacts) -> Mapping[str, Depths]:
        return {} if queue.reason else await self._redis.depths(names)

    async def _ended(self, store: StoreFacts, queue: QueueFacts) -> set[str]:
        if store.reason or queue.reason:
            return set()
        silent = workers.stale_children(
            queue.beats, queue.now_ms, interval_seconds=self._interval_seconds, lease_seconds=self._lease_seconds
        )
        return await self._mongo.ended_in_order(silent)


def _pool(
    name: str,
    depths: Depths | None,
    store: StoreFacts,
    queue: QueueFacts,
    services: Sequence[WorkerView],
    *,
    default_limit: int,
) -> PoolView:
    living = {(worker.host, worker.pid) for worker in services if worker.state in LIVING}
    slots, count = workers.slots_of(name, queue.beats, {(host, pid) for host, pid in living if pid is not None})
    # MongoDB's word about a pause is the truth; Redis' is the fast path and all there is while MongoDB is away.
    settings = None if store.settings is None else store.settings.get(name, PoolSettings(name))
    paused = settings.paused if settings is not None else bool(depths and depths.paused)
    oldest = depths.oldest_ms if depths else None
    return PoolView(
        name=name,
        waiting=dict(depths.waiting) if depths else None,
        delayed=depths.delayed if depths else None,
        in_flight=depths.in_flight if depths else None,
        oldest_waiting_seconds=max(0.0, round((queue.now_ms - oldest) / 1000, 1)) if oldest is not None else None,
        paused=paused,
        paused_reason=(settings.paused_reason or None) if settings is not None and paused else None,
        complete=depths.complete if depths else None,
        slots=slots,
        workers=count,
        size_limit=(settings.size_limit if settings is not None else None) or default_limit,
        types=sorted(item.type for item in store.types or () if item.pool == name),
    )
