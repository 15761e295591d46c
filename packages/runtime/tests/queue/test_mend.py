"""Adopting running jobs and relocating misplaced ones, on both servers."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from headrace.contracts.errors import StoreUnavailableError
from headrace.runtime.queue import Entry, InFlight, Keys, Located, RedisJobQueue

POOL = "default"


@pytest.fixture
def keys(namespace: str):
    return Keys(namespace).pool(POOL)


async def where(queue: RedisJobQueue, job_id: str) -> tuple[object, object, object]:
    [found] = await queue.locate(POOL, [job_id])
    return found.place, found.score, found.token


async def test_an_adopted_job_is_in_flight_under_the_token_of_its_claim(queue: RedisJobQueue) -> None:
    assert await queue.adopt(POOL, [InFlight("a", 1000, "t1"), InFlight("b", 2000, None)]) == 2
    assert await where(queue, "a") == ("inflight", 1000, "t1")
    assert await where(queue, "b") == ("inflight", 2000, None)
    assert await queue.adopt(POOL, [InFlight("a", 3000, "t2")]) == 0, "a repeat changes nothing"
    assert await where(queue, "a") == ("inflight", 1000, "t1")


async def test_a_claim_time_to_come_is_now(queue: RedisJobQueue) -> None:
    """Another clock was ahead: the sweep must look at the id in time all the same."""
    now = await queue.time_ms()
    await queue.adopt(POOL, [InFlight("a", now + 3_600_000, "t1")])
    _, claimed, _ = await where(queue, "a")
    assert isinstance(claimed, int)
    assert now <= claimed < now + 60_000


async def test_an_adopted_job_gives_up_its_place(queue: RedisJobQueue) -> None:
    await queue.reserve(POOL, ["a"], limit=10)
    await queue.adopt(POOL, [InFlight("a", 1000, "t1")])
    depths = await queue.depths(POOL)
    assert (depths.reserved, depths.in_flight) == (0, 1)


async def test_what_waits_already_is_not_adopted(queue: RedisJobQueue) -> None:
    later = await queue.time_ms() + 60_000
    await queue.enqueue(POOL, [Entry("ready", 5), Entry("delayed", 5, due_ms=later)])
    assert await queue.adopt(POOL, [InFlight("ready", 1, "t"), InFlight("delayed", 1, "t")]) == 0
    assert await where(queue, "ready") == ("ready", 5, None)
    assert await where(queue, "delayed") == ("delayed", later, None)


async def test_more_running_jobs_than_one_script_takes_are_adopted(queue: RedisJobQueue) -> None:
    running = [InFlight(f"j{n}", 1000 + n, f"t{n}") for n in range(2500)]
    assert await queue.adopt(POOL, running) == 2500
    assert (await queue.depths(POOL)).in_flight == 2500
    assert await queue.adopt(POOL, []) == 0


async def test_adopting_is_refused_when_the_server_is_full(own_queue: RedisJobQueue, own_redis_client: Redis) -> None:
    await own_redis_client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match="full"):
        await own_queue.adopt(POOL, [InFlight("a", 1, "t")])


async def test_a_misplaced_id_moves_to_where_its_document_says(queue: RedisJobQueue, keys, redis: Redis) -> None:
    later = await queue.time_ms() + 60_000
    await redis.zadd(keys.ready, {"early": 7})
    await redis.zadd(keys.delayed, {"late": later})
    moves = [
        (Located("early", "ready", 7, None), Entry("early", 8, due_ms=later)),
        (Located("late", "delayed", later, None), Entry("late", 9)),
    ]
    assert await queue.relocate(POOL, moves) == 2
    assert await where(queue, "early") == ("delayed", later, None)
    assert await redis.hget(keys.score, "early") == "8"
    assert await where(queue, "late") == ("ready", 9, None)
    assert await redis.hexists(keys.score, "late") == 0
    assert await queue.relocate(POOL, moves) == 0, "a repeat finds nothing as it was seen"


async def test_an_id_that_moved_since_it_was_seen_stays(queue: RedisJobQueue) -> None:
    await queue.enqueue(POOL, [Entry("a", 5), Entry("b", 6)])
    claim = await queue.claim(POOL, token="t1", count=1)
    assert claim.ids == ("a",)
    moves = [(Located("a", "ready", 5, None), Entry("a", 1)), (Located("b", "ready", 7, None), Entry("b", 1))]
    assert await queue.relocate(POOL, moves) == 0
    assert await where(queue, "a") == ("inflight", claim.now_ms, "t1")
    assert await where(queue, "b") == ("ready", 6, None)


async def test_forged_numbers_are_found_as_they_were_read(queue: RedisJobQueue, keys, redis: Redis) -> None:
    await redis.zadd(keys.delayed, {"inf": float("inf"), "half": 1e15 + 0.5, "huge": 1e300, "low": -1.5})
    found = await queue.locate(POOL, ["inf", "half", "huge", "low"])
    assert await queue.relocate(POOL, [(seen, Entry(seen.id, 5)) for seen in found]) == 4
    assert [await where(queue, seen.id) for seen in found] == [("ready", 5, None)] * 4


async def test_bad_arguments_are_refused_before_anything_is_sent(queue: RedisJobQueue) -> None:
    with pytest.raises(ValueError, match=r"moves\[0\] must be about an id that was seen ready or delayed"):
        await queue.relocate(POOL, [(Located("a", "inflight", 5, None), Entry("a", 1))])
    with pytest.raises(ValueError, match=r"moves\[0\]"):
        await queue.relocate(POOL, [(Located("b", "ready", 5, None), Entry("a", 1))])
    with pytest.raises(ValueError, match=r"entries\[0\].claimed_ms"):
        await queue.adopt(POOL, [InFlight("a", -1, None)])
    with pytest.raises(ValueError, match=r"entries\[0\]"):
        await queue.adopt(POOL, [InFlight("not an id", 1, None)])


async def test_a_key_of_the_wrong_type_fails_before_the_first_write(queue: RedisJobQueue, keys, redis: Redis) -> None:
    await redis.zadd(keys.ready, {"a": 5})
    await redis.set(keys.delayed, "wrong")
    with pytest.raises(StoreUnavailableError, match="is a string, not a zset"):
        await queue.adopt(POOL, [InFlight("b", 1, "t")])
    with pytest.raises(StoreUnavailableError, match="is a string, not a zset"):
        await queue.relocate(POOL, [(Located("a", "ready", 5, None), Entry("a", 9))])
    assert await redis.zrange(keys.ready, 0, -1, withscores=True) == [["a", 5.0]]
    assert await redis.exists(keys.inflight) == 0
