"""What is no id, no number or no argument: nothing breaks on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness

from headrace.runtime.queue import Entry, RedisJobQueue
from headrace.runtime.queue.keys import Keys


async def test_foreign_members_are_thrown_away_by_a_claim(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """Forged, binary or huge: nothing that no id looks like reaches a worker, and nothing breaks on it."""
    job = await harness.waiting(priority=2)
    keys = Keys(namespace).pool(POOL)
    await redis.zadd(keys.ready, {b"\xff\x00pickle": 0, "a b": 1, "x" * 1_000_000: 2, "": 3})
    assert (await queue.claim(POOL, token="t1", count=4)).ids == ()
    assert (await queue.claim(POOL, token="t2", count=4)).ids == (job,)
    assert (await queue.depths(POOL)).in_flight == 1


async def test_forged_numbers_break_nothing(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """Infinite scores, a place that is no number."""
    keys = Keys(namespace).pool(POOL)
    forged = harness.new_ids(4)
    await redis.zadd(keys.ready, {forged[0]: float("inf"), forged[1]: float("-inf")})
    await redis.zadd(keys.delayed, {forged[2]: float("-inf"), forged[3]: float("inf")})
    await redis.hset(keys.score, forged[2], "nan")
    assert (await queue.depths(POOL)).waiting == {"high": 1, "medium": 0, "low": 1}
    claim = await queue.claim(POOL, token="t1", count=5)
    assert claim.ids == (forged[1], forged[2], forged[0])
    assert claim.next_due_ms == 2**53
    assert (await queue.members(POOL, "delayed", cursor=0, count=10))[1] == [(forged[3], 2**53)]


async def test_a_delayed_id_without_a_place_goes_last(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """Its place was lost: it may not overtake anybody; one that is in flight as well is not ready."""
    flying = await harness.waiting()
    await harness.take(token="t0", count=1)
    keys = Keys(namespace).pool(POOL)
    lost = harness.new_ids(1)[0]
    await redis.zadd(keys.delayed, {lost: 1, flying: 1})
    low = await harness.waiting(priority=2)
    assert (await queue.claim(POOL, token="t1", count=5)).ids == (low, lost)
    assert await redis.zcard(keys.delayed) == 0


async def test_foreign_members_are_thrown_away_by_whoever_reads(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """They would count towards the bound for ever, and no document can tell what to do with them."""
    keys = Keys(namespace).pool(POOL)
    job = await harness.waiting()
    await harness.take(token="t1", count=1)
    for key in (keys.inflight, keys.delayed, keys.reserved):
        await redis.zadd(key, {b"\xfe\xff": 1, "a b": 2})
    assert [entry.id for entry in await queue.in_flight(POOL, older_than_ms=0, limit=10)] == [job]
    assert await queue.members(POOL, "delayed", cursor=0, count=10) == (0, [])
    assert await queue.expired_reservations(POOL, 10) == []
    assert (await queue.reserve(POOL, [], limit=10)).pending == 1


Call = Callable[[RedisJobQueue], Awaitable[Any]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: q.reserve("Not a pool", ["a"], limit=1), "pool must match"),
        (lambda q: q.reserve(POOL, ["a b"], limit=1), r"ids\[0\] must be"),
        (lambda q: q.reserve(POOL, ["a"], limit=-1), "limit must be from 0"),
        (lambda q: q.reserve(POOL, ["a"], limit=1, ttl_ms=0), "ttl_ms must be from 1"),
        (lambda q: q.enqueue(POOL, [Entry("a", 1), Entry("", 1)]), r"entries\[1\] must be"),
        (lambda q: q.enqueue(POOL, [Entry("a", 2**54)]), r"entries\[0\].score must be"),
        (lambda q: q.enqueue(POOL, [Entry("a", 1, -1)]), r"entries\[0\].due_ms must be"),
        (lambda q: q.enqueue(POOL, [], drop=["x" * 101]), r"drop\[0\] must be"),
        (lambda q: q.claim(POOL, token="", count=1), "token must be"),
        (lambda q: q.claim(POOL, token="t", count=1001), "count must be from 0 to 1000"),
        (lambda q: q.putback(POOL, token="a:{b}", verdicts=[]), "token must be"),
        (lambda q: q.in_flight(POOL, older_than_ms=0, limit=0), "limit must be from 1"),
        (lambda q: q.members(POOL, "ready", cursor=-1, count=1), "cursor must be from 0"),
        (lambda q: q.sweep(POOL, seen=[], verdicts=[], min_age_ms=-1), "min_age_ms must be"),
        (lambda q: q.promote(POOL, limit=0), "limit must be from 1"),
    ],
)
async def test_a_bad_argument_is_named_and_nothing_is_sent(queue: RedisJobQueue, call: Call, message: str) -> None:
    """Before Redis hears of it."""
    with pytest.raises(ValueError, match=message):
        await call(queue)
    assert (await queue.depths(POOL)).reserved == 0


async def test_nothing_to_do_is_done(queue: RedisJobQueue) -> None:
    """Empty sequences are no error."""
    assert await queue.enqueue(POOL, []) == 0
    assert await queue.settle(POOL, []) == 0
    assert await queue.requeue(POOL, []) == 0
    assert await queue.putback(POOL, token="t", verdicts=[]) == 0
    assert await queue.locate(POOL, []) == []
    assert (await queue.claim(POOL, token="t", count=0)).ids == ()
