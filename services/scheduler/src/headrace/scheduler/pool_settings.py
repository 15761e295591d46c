"""What operators set for pools, carried to where it is obeyed: this scheduler's bound, and the pause key of Redis."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.runtime.store.pools import Pools, PoolSettings
from headrace.scheduler.bounds import Bounds
from headrace.scheduler.links import ANSWER_SECONDS, MongoLink, RedisLink

REFRESH_SECONDS = 1.0
REPEAT_SECONDS = 10.0
"""Pauses are told to Redis again this often: one that got lost, or a resume that came while Redis was away."""

log = structlog.get_logger(__name__)


class SettingsWatch:
    """Follows the settings in MongoDB, the truth (B12). Workers read it too; Redis only makes a pause quicker.

    Args:
        pools: The settings.
        mongo: How to reach them.
        bounds: Learns the sizes.
        queue: Learns the pauses.
        redis: How to reach it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        pools: Pools,
        mongo: MongoLink,
        bounds: Bounds,
        queue: RedisJobQueue,
        redis: RedisLink,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pools = pools
        self._mongo = mongo
        self._bounds = bounds
        self._queue = queue
        self._redis = redis
        self._clock = clock
        self._told: dict[str, str | None] = {}
        self._told_all_at = float("-inf")

    async def refresh(self) -> None:
        """Follow what is set. To be run every `REFRESH_SECONDS`, and after a change.

        Raises:
            StoreUnavailableError: MongoDB does not answer; what was known goes on to hold.
        """
        found = await self._mongo.read(self._pools.all, seconds=ANSWER_SECONDS)
        self._bounds.set_sizes({name: item.size_limit for name, item in found.items() if item.size_limit is not None})
        if self._clock() - self._told_all_at >= REPEAT_SECONDS:
            self._told.clear()
            self._told_all_at = self._clock()
        for item in found.values():
            await self._tell(item)

    async def _tell(self, item: PoolSettings) -> None:
        reason = (item.paused_reason or "") if item.paused else None
        if item.name in self._told and self._told[item.name] == reason:
            return
        try:
            await self._redis.call(lambda: self._queue.pause(item.name, reason is not None, reason or ""))
        except StoreUnavailableError as error:
            self._told.pop(item.name, None)  # again at the next look
            log.info("pools.pause_not_told", pool=item.name, reason=error.detail)
        else:
            self._told[item.name] = reason
