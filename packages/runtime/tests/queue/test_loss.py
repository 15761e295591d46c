"""What a restarted or an emptied server does to a pool."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness, complete

from headrace.contracts.errors import StoreUnavailableError
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry
from headrace.testing.eventually import eventually


async def test_a_restart_with_the_data_kept_is_seen_at_once(own_server: RedisServer, own_harness: RedisHarness) -> None:
    """Everything is where it was, but nobody knows what the last moments lost: not complete until rebuilt."""
    queue = own_harness.queue
    flying = await own_harness.waiting(age_ms=9_000)
    await own_harness.take(token="t1", count=1)
    ready, delayed = await own_harness.waiting(), await own_harness.waiting(due_in_ms=600_000)
    old_run = await queue.run_id()
    marker = await queue.begin_rebuild(POOL)
    await asyncio.to_thread(own_server.restart, keep_data=True)

    async def answers() -> bool:
        try:
            await queue.ping()
        except StoreUnavailableError:
            return False
        return True

    await eventually(answers)
    assert await queue.run_id() != old_run
    reservation = await queue.reserve(POOL, own_harness.new_ids(1), limit=100)
    assert (reservation.granted, reservation.complete, reservation.pending) == (0, False, 3)
    assert not await queue.finish_rebuild(POOL, marker)
    found = await queue.locate(POOL, [flying, ready, delayed])
    assert [one.place for one in found] == ["inflight", "ready", "delayed"]
    assert (await queue.claim(POOL, token="t1", count=1)).ids == (flying,)
    await complete(queue)
    assert (await queue.reserve(POOL, own_harness.new_ids(1), limit=100)).granted == 1
    assert (await queue.claim(POOL, token="t2", count=5)).ids == (ready,)


async def test_a_restart_with_the_data_gone_is_seen_at_once(own_server: RedisServer, own_harness: RedisHarness) -> None:
    """The pool is empty and says that it is not complete; rebuilt, it has the same order."""
    queue = own_harness.queue
    jobs = [await own_harness.waiting(priority=priority) for priority in (2, 0, 1)]
    await asyncio.to_thread(own_server.restart, keep_data=False)

    async def is_empty() -> bool:
        try:
            reservation = await queue.reserve(POOL, own_harness.new_ids(1), limit=100)
        except StoreUnavailableError:
            return False
        assert (reservation.granted, reservation.complete, reservation.pending) == (0, False, 0)
        return True

    await eventually(is_empty)
    marker = await queue.begin_rebuild(POOL)
    assert await queue.enqueue(POOL, list(own_harness.entries.values())) == 3
    assert await queue.enqueue(POOL, list(own_harness.entries.values())) == 0
    assert await queue.finish_rebuild(POOL, marker)
    assert (await queue.claim(POOL, token="t1", count=5)).ids == (jobs[1], jobs[2], jobs[0])


async def test_a_flush_in_the_middle_of_a_rebuild_starts_it_over(
    own_harness: RedisHarness, own_redis_client: Redis
) -> None:
    """The marker went with the rest, so the pool is not declared complete; nor by the old marker after a new begin."""
    queue = own_harness.queue
    await own_redis_client.flushall()
    assert not await queue.is_complete(POOL)
    marker = await queue.begin_rebuild(POOL)
    await queue.enqueue(POOL, [Entry("a", 1)])
    await own_redis_client.flushall()
    await queue.enqueue(POOL, [Entry("b", 1)])
    assert not await queue.finish_rebuild(POOL, marker)
    again = await queue.begin_rebuild(POOL)
    assert again != marker
    assert not await queue.finish_rebuild(POOL, marker)
    assert not await queue.is_complete(POOL)
    assert await queue.finish_rebuild(POOL, again)
    assert await queue.is_complete(POOL)


async def test_the_end_of_a_rebuild_that_redis_takes_late_is_none(
    own_harness: RedisHarness, own_redis_client: Redis
) -> None:
    """It stood still meanwhile, and jobs were stored that nobody could push."""
    queue = own_harness.queue
    await own_redis_client.flushall()
    marker, now_ms = await queue.begin_rebuild(POOL), await queue.time_ms()
    assert not await queue.finish_rebuild(POOL, marker, by_ms=now_ms - 1)
    assert not await queue.is_complete(POOL)
    assert await queue.begin_rebuild(POOL) == marker, "nothing was lost: what was added need not be added again"
    assert await queue.finish_rebuild(POOL, marker, by_ms=now_ms + 60_000)
    assert await queue.finish_rebuild(POOL, marker, by_ms=now_ms - 1), "it is complete; a repeat changes nothing"


async def test_a_flush_of_a_complete_pool_is_seen_at_once(own_harness: RedisHarness, own_redis_client: Redis) -> None:
    """FLUSHALL keeps the run id; the missing epoch tells."""
    await own_redis_client.flushall()
    reservation = await own_harness.queue.reserve(POOL, ["a"], limit=5)
    assert (reservation.granted, reservation.complete) == (0, False)
