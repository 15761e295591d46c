"""Hazard 22: a key of a wrong type, in each place where one can be."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, VERBS, RedisHarness, dump

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue import RedisJobQueue
from headrace.runtime.queue.keys import Keys, PoolKeys

WRITERS = [
    "reserve",
    "enqueue",
    "claim",
    "settle",
    "requeue",
    "putback",
    "promote",
    "free",
    "refill",
    "rescore",
    "depths",
    "locate",
    "in_flight",
    "members",
    "expired_reservations",
    "pause",
    "begin_rebuild",
    "finish_rebuild",
]


@pytest.mark.parametrize("verb", WRITERS)
async def test_a_key_of_a_wrong_type_fails_before_the_first_write(
    redis: Redis, queue: RedisJobQueue, namespace: str, verb: str
) -> None:
    """Hazard 22: for each key that a verb uses; the error names the key, and nothing else changed."""
    keys = Keys(namespace).pool(POOL)
    details: list[tuple[str, str]] = []
    for key in every_key(keys):
        await redis.delete(*every_key(keys))
        await redis.zadd(keys.ready, {"x": 1})
        await redis.delete(key)
        await (redis.set(key, "junk") if key == keys.claim("t") else redis.rpush(key, "junk"))
        before = await dump(redis, f"{namespace}:*")
        try:
            await VERBS[verb](queue)
        except StoreUnavailableError as error:
            details.append((key, error.detail))
            assert await dump(redis, f"{namespace}:*") == before
    assert details
    for key, detail in details:
        assert detail == "a Redis key has the wrong type" or detail.startswith(f"the key {key} is a ")


def every_key(keys: PoolKeys) -> list[str]:
    return [
        keys.ready,
        keys.delayed,
        keys.score,
        keys.inflight,
        keys.holder,
        keys.reserved,
        keys.paused,
        keys.epoch,
        keys.rebuilding,
        keys.claims,
        keys.claim("t"),
    ]


async def test_a_claim_counter_that_is_no_number_is_named(
    redis: Redis, queue: RedisJobQueue, harness: RedisHarness, namespace: str
) -> None:
    """Before a pop: an INCR that fails after it would lose the ids."""
    job = await harness.waiting()
    await redis.set(Keys(namespace).pool(POOL).claims, "many")
    with pytest.raises(StoreUnavailableError, match="claims must be a whole number"):
        await queue.claim(POOL, token="t", count=1)
    assert (await queue.locate(POOL, [job]))[0].place == "ready"
