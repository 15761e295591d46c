"""How pools stand, put together from MongoDB, Redis and heartbeats. Without Redis everything is counted in MongoDB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.contracts.api import PoolView, SlotsView, WaitingView
from headrace.contracts.errors import NotFoundError, StoreUnavailableError
from headrace.contracts.heartbeat import Incarnation
from headrace.runtime.queue.base import Depths
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.incarnations import Incarnations
from headrace.runtime.store.job_types import JobTypes
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.pools import Pools, PoolSettings
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.scheduler.bounds import Bounds
from headrace.scheduler.links import MongoLink, RedisLink
from headrace.scheduler.rates import DrainRates

AT_ONCE = 8


@dataclass(frozen=True)
class _Common:
    """What is read once for all pools. `busy` None: no heartbeat can be read."""

    settings: dict[str, PoolSettings]
    alive: Sequence[Incarnation]
    busy: dict[str, int] | None


class PoolViews:
    """Views of pools."""

    def __init__(
        self,
        *,
        pools: Pools,
        types: JobTypes,
        reconcile: ReconcileReads,
        incarnations: Incarnations,
        direct: PersistentJobQueue,
        mongo: MongoLink,
        queue: RedisJobQueue,
        hints: Hints,
        redis: RedisLink,
        bounds: Bounds,
        rates: DrainRates,
    ) -> None:
        self._pools = pools
        self._types = types
        self._reconcile = reconcile
        self._incarnations = incarnations
        self._direct = direct
        self._mongo = mongo
        self._queue = queue
        self._hints = hints
        self._redis = redis
        self._bounds = bounds
        self._rates = rates

    async def names(self) -> list[str]:
        """Every pool of a registered type, with settings, or with a job that is not over.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        registered = await self._mongo.read(self._types.pools)
        return sorted({*registered, *await self._mongo.read(self._reconcile.pools)})

    async def check(self, name: str) -> None:
        """Raise `NotFoundError` for a pool that nothing speaks of."""
        if name not in await self.names():
            raise NotFoundError("there is no such pool")

    async def view(self, name: str, *, tenant: str | None) -> PoolView:
        """One pool.

        Raises:
            NotFoundError: Nothing speaks of it.
            StoreUnavailableError: MongoDB does not answer.
        """
        await self.check(name)
        return await self._view(name, await self._common(), tenant)

    async def all(self, *, tenant: str | None) -> list[PoolView]:
        """Every pool, by name.

        Raises:
            StoreUnavailableError: MongoDB does not answer.
        """
        names, common, limit = await self.names(), await self._common(), asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> PoolView:
            async with limit:
                return await self._view(name, common, tenant)

        return list(await asyncio.gather(*map(one, names)))

    async def _common(self) -> _Common:
        settings = await self._mongo.read(self._pools.all)
        alive = await self._mongo.read(self._incarnations.alive)
        try:
            beats = await self._redis.call(self._hints.heartbeats)
        except StoreUnavailableError:
            return _Common(settings, alive, None)
        return _Common(settings, alive, {child.incarnation: child.busy for beat in beats for child in beat.children})

    async def _view(self, name: str, common: _Common, tenant: str | None) -> PoolView:
        settings = common.settings.get(name) or PoolSettings(name)
        depths = await self._depths(name, tenant)
        children = [child for child in common.alive if child.pool == name]
        total = sum(child.slots for child in children)
        if common.busy is None:
            busy = min(total, depths.in_flight)
        else:
            busy = sum(common.busy.get(child.id, 0) for child in children)
        oldest = depths.oldest_ms
        return PoolView(
            name=name,
            waiting=WaitingView(**depths.waiting),
            delayed=depths.delayed,
            in_flight=depths.in_flight,
            oldest_waiting_seconds=None if oldest is None else round(max(0.0, time.time() - oldest / 1000), 3),
            size_limit=settings.size_limit or self._bounds.size(name),
            paused=settings.paused,
            paused_reason=settings.paused_reason,
            slots=SlotsView(busy=busy, total=total),
            workers=len(children),
            # How fast a pool drains tells of everybody's jobs.
            throughput_per_second=None if tenant is not None else await self._rates.throughput_per_second(name),
        )

    async def _depths(self, name: str, tenant: str | None) -> Depths:
        if tenant is None:
            try:
                depths = await self._redis.call(lambda: self._queue.depths(name))
                if depths.complete:
                    return depths
            except StoreUnavailableError:
                pass
        return await self._mongo.read(lambda: self._direct.depths(name, tenant=tenant))
