"""Limits of each id at a reservation, rate limits, and the count of what left."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue import Keys, RateLimiter, RedisJobQueue, redis_client
from headrace.testing.eventually import eventually


async def test_each_id_is_granted_while_fewer_than_its_own_limit_are_pending(harness: RedisHarness) -> None:
    queue = harness.queue
    ids = harness.new_ids(10)
    reservation = await queue.reserve(POOL, ids, limit=[10] * 2 + [4] * 8)
    assert (reservation.granted, reservation.pending) == (4, 4)
    assert (await queue.reserve(POOL, harness.new_ids(1), limit=[4])).granted == 0
    assert (await queue.reserve(POOL, harness.new_ids(9), limit=[10] * 8 + [4])).granted == 6
    assert (await queue.reserve(POOL, ids, limit=[10] * 2 + [4] * 8)).granted == 4, "a repeat is granted the same"


async def test_limits_hold_over_several_scripts(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """More ids than one script takes."""
    reservation = await queue.reserve(POOL, harness.new_ids(1200), limit=[2000] * 600 + [1100] * 600)
    assert (reservation.granted, reservation.pending) == (1100, 1100)


async def test_limits_are_exact_for_many_at_once(queue: RedisJobQueue, harness: RedisHarness) -> None:
    low, high = 30, 50
    asked = [queue.reserve(POOL, harness.new_ids(3), limit=[high, low, low]) for _ in range(64)]
    answers = await asyncio.gather(*asked)
    assert sum(answer.granted for answer in answers) == high


@pytest.mark.parametrize("limit", [[1, 2], [1], [-1, -1]])
async def test_limits_that_rise_or_do_not_fit_are_refused(queue: RedisJobQueue, limit: list[int]) -> None:
    with pytest.raises(ValueError, match="limit must be"):
        await queue.reserve(POOL, ["a", "b"], limit=limit)


async def test_what_leaves_is_counted_and_places_and_repeats_are_not(
    queue: RedisJobQueue, harness: RedisHarness
) -> None:
    assert await queue.drained(POOL) == 0
    ids = [await harness.waiting() for _ in range(3)]
    place = harness.new_ids(1)
    await queue.reserve(POOL, place, limit=10)
    await queue.settle(POOL, [*ids[:2], *place])
    await queue.settle(POOL, ids[:2])
    assert await queue.drained(POOL) == 2
    await harness.take(token="t", count=1)
    await queue.settle(POOL, ids)
    assert await queue.drained(POOL) == 3


@pytest.fixture
def limiter(redis: Redis, namespace: str) -> RateLimiter:
    return RateLimiter(redis, namespace=namespace)


async def test_a_full_bucket_holds_the_burst_and_gains_the_rate(limiter: RateLimiter) -> None:
    first = await limiter.take("a", rate=0.5, burst=5, count=3)
    assert (first.granted, first.left, first.wait_seconds) == (3, 2, 0)
    assert 5.9 < first.full_in_seconds <= 6
    second = await limiter.take("a", rate=0.5, burst=5, count=4)
    assert (second.granted, second.left) == (2, 0)
    assert 1.5 < second.wait_seconds <= 2
    third = await limiter.take("a", rate=0.5, burst=5)
    assert third.granted == 0
    assert 9 < third.full_in_seconds <= 10, "a refusal costs nothing"
    assert (await limiter.take("b", rate=0.5, burst=5)).granted == 1, "another bucket"


async def test_tokens_come_back_at_the_rate(limiter: RateLimiter) -> None:
    assert (await limiter.take("a", rate=50, burst=1)).granted == 1
    assert (await limiter.take("a", rate=50, burst=1)).granted == 0
    seen = 0

    async def again() -> bool:
        nonlocal seen
        seen += 1
        return (await limiter.take("a", rate=50, burst=1)).granted == 1

    await eventually(again, within=2)


async def test_many_at_once_get_the_burst_and_no_more(limiter: RateLimiter) -> None:
    answers = await asyncio.gather(*(limiter.take("a", rate=0.001, burst=20) for _ in range(64)))
    assert sum(answer.granted for answer in answers) == 20


async def test_a_bucket_ends_by_itself_and_a_forged_one_is_an_empty_one(
    limiter: RateLimiter, redis: Redis, namespace: str
) -> None:
    await limiter.take("a", rate=1, burst=5, count=5)
    (key,) = [key async for key in redis.scan_iter(match=f"{namespace}:rate:*")]
    assert key == Keys(namespace).rate(key.rpartition(":")[2])
    assert 4000 < await redis.pttl(key) <= 5000
    await redis.set(key, str(2**60))
    state = await limiter.take("a", rate=1, burst=5)
    assert (state.granted, state.left) == (0, 0)
    assert state.wait_seconds <= 1
    await redis.set(key, "rubbish")
    assert (await limiter.take("a", rate=1, burst=5)).granted == 1


async def test_without_redis_the_caller_is_told(namespace: str) -> None:
    away = redis_client("redis://127.0.0.1:1", kind="command", name="away")
    with pytest.raises(StoreUnavailableError):
        await RateLimiter(away, namespace=namespace).take("a", rate=1, burst=1)
    await away.aclose()


@pytest.mark.parametrize(
    "asked", [{"rate": 0, "burst": 1}, {"rate": 1, "burst": 0}, {"rate": 1, "burst": 1, "count": 1001}]
)
async def test_numbers_out_of_their_limits_are_refused(limiter: RateLimiter, asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        await limiter.take("a", **asked)  # type: ignore[arg-type]
