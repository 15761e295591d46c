"""How fast pools drain, measured: what a refused client is told to wait, and the throughput that pools show."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue.redis_queue import RedisJobQueue
from headrace.scheduler.links import RedisLink

SAMPLE_SECONDS = 1.0
WINDOW_SECONDS = 30.0
MIN_SPAN_SECONDS = 0.5
"""Two looks that are closer to each other tell nothing."""
UNKNOWN_SECONDS = 2.0
MIN_WAIT_SECONDS, MAX_WAIT_SECONDS = 1.0, 300.0
MAX_POOLS = 1000


class DrainRates:
    """The drain rates of the pools that were asked about, over the last half minute.

    Args:
        queue: Counts what left each pool.
        redis: How to reach it.
        clock: Monotonic seconds.
    """

    def __init__(self, queue: RedisJobQueue, redis: RedisLink, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._redis = redis
        self._clock = clock
        self._samples: dict[str, deque[tuple[float, int]]] = {}
        self._refused: dict[str, int] = {}
        """Places that were refused since the last look: those who come back compete for what drains."""

    def watch(self, pool: str) -> None:
        """Measure this pool from now on."""
        if pool not in self._samples and len(self._samples) < MAX_POOLS:
            self._samples[pool] = deque()

    async def run_once(self) -> None:
        """Look at every pool that is watched. To be run every `SAMPLE_SECONDS`.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        self._refused.clear()
        for pool in list(self._samples):
            await self._look(pool)

    async def throughput_per_second(self, pool: str) -> float | None:
        """How many jobs left the pool per second, ended or cancelled; None while that is not known."""
        if pool not in self._samples:
            self.watch(pool)
            try:
                await self._look(pool)
            except StoreUnavailableError:
                return None
        span = self._span(pool)
        return None if span is None else round(span[0] / span[1], 3)

    def wait_seconds(self, pool: str) -> float:
        """When a place is likely to be free for a client that was refused now: from 1 to 300 s."""
        self.watch(pool)
        self._refused[pool] = self._refused.get(pool, 0) + 1
        span = self._span(pool)
        if span is None:
            return UNKNOWN_SECONDS
        drained, seconds = span
        # Nothing drained means that less than one did.
        wait = self._refused[pool] * seconds / max(1, drained)
        return float(math.ceil(min(max(wait, MIN_WAIT_SECONDS), MAX_WAIT_SECONDS)))

    async def _look(self, pool: str) -> None:
        drained = await self._redis.call(lambda: self._queue.drained(pool))
        now, samples = self._clock(), self._samples[pool]
        if samples and drained < samples[-1][1]:
            samples.clear()  # Redis lost its data, and the count began anew
        samples.append((now, drained))
        while samples[0][0] < now - WINDOW_SECONDS:
            samples.popleft()

    def _span(self, pool: str) -> tuple[int, float] | None:
        """How many left in how many seconds."""
        samples = self._samples.get(pool)
        if not samples or samples[-1][0] - samples[0][0] < MIN_SPAN_SECONDS:
            return None
        if self._clock() - samples[-1][0] > WINDOW_SECONDS:
            return None  # of long ago: Redis is away
        return samples[-1][1] - samples[0][1], samples[-1][0] - samples[0][0]
