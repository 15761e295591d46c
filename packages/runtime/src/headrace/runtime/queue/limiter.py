"""A rate and a burst per bucket, kept over every process that asks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from redis.asyncio import Redis

from headrace.runtime.queue import scripts
from headrace.runtime.queue.base import MAX_BATCH
from headrace.runtime.queue.calls import checked_number
from headrace.runtime.queue.keys import Keys

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class RateState:
    """A bucket after it was asked.

    Attributes:
        granted: How many of the asked may go on.
        left: Tokens that are left in the bucket.
        full_in_seconds: When it is full again, if nobody asks.
        wait_seconds: When the next token is there; 0 while some are left.
    """

    granted: int
    left: int
    full_in_seconds: float
    wait_seconds: float


class RateLimiter:
    """Buckets in Redis, by name.

    Args:
        redis: From `redis_client(kind="command")`.
        namespace: Prefix of every key.
    """

    def __init__(self, redis: Redis, *, namespace: str) -> None:
        self._redis = redis
        self._keys = Keys(namespace)

    async def take(self, bucket: str, *, rate: float, burst: int, count: int = 1) -> RateState:
        """Take up to `count` (0 to 1000) tokens out of a bucket that holds `burst` and gains `rate` a second.

        Not safe to repeat: what a lost answer granted is used up.

        Raises:
            StoreUnavailableError: Redis does not answer.
            ValueError: A number is out of its limits.
        """
        each = max(1, round(MICROSECONDS / rate)) if rate > 0 else 0
        checked_number(each, name="microseconds per token", low=1, high=2**40)
        checked_number(burst, name="burst", low=1, high=2**20)
        checked_number(count, name="count", high=MAX_BATCH)
        # A token's name may hold anything; its digest cannot break a key.
        digest = hashlib.sha256(bucket.encode()).hexdigest()[:32]
        granted, left, full_in, wait = await scripts.run(
            self._redis, "throttle", [self._keys.rate(digest)], [each, burst, count]
        )
        return RateState(granted, left, full_in / MICROSECONDS, wait / MICROSECONDS)
