"""The verbs of recovery."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.contracts.job import ready_score
from headrace.local.stores import RedisServer
from headrace.runtime.queue import Entry, InFlight, RedisJobQueue, Verdict
from headrace.runtime.queue.keys import Keys
from headrace.testing.eventually import eventually


async def test_in_flight_lists_the_oldest_first_with_their_tokens(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """Page by page; younger ones are not listed."""
    jobs = [await harness.waiting(age_ms=9_000 - n) for n in range(3)]
    for number in range(3):
        await harness.take(token=f"t{number}", count=1)
    found = await queue.in_flight(POOL, older_than_ms=0, limit=10)
    assert sorted(entry.id for entry in found) == sorted(jobs)
    assert {entry.id: entry.token for entry in found} == {job: f"t{n}" for n, job in enumerate(jobs)}
    assert [entry.claimed_ms for entry in found] == sorted(entry.claimed_ms for entry in found)
    assert await queue.in_flight(POOL, older_than_ms=60_000, limit=10) == []
    pages = [await queue.in_flight(POOL, older_than_ms=0, limit=2, offset=offset) for offset in (0, 2)]
    assert pages[0] + pages[1] == found


async def test_a_sweep_places_what_stayed_too_long(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """Where its document says; what is being processed stays as it is."""
    jobs = [await harness.waiting(age_ms=9_000 - n) for n in range(3)]
    await harness.take(token="t1", count=3)
    seen = await queue.in_flight(POOL, older_than_ms=0, limit=10)
    verdicts = [Verdict(jobs[0], "drop"), Verdict(jobs[1], "delayed", 0, 12), Verdict(jobs[2], "leave")]
    assert await queue.sweep(POOL, seen=seen, verdicts=verdicts, min_age_ms=60_000) == 0
    assert await queue.sweep(POOL, seen=[], verdicts=verdicts, min_age_ms=0) == 0
    assert await queue.sweep(POOL, seen=seen, verdicts=verdicts, min_age_ms=0) == 3
    found = await queue.locate(POOL, jobs)
    assert [(one.place, one.token) for one in found] == [(None, None), ("delayed", None), ("inflight", "t1")]
    assert await queue.sweep(POOL, seen=seen, verdicts=verdicts, min_age_ms=0) == 1


async def test_a_sweep_leaves_what_changed_since_it_was_read(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """B5: claimed anew, or under another token, or at another time."""
    job = await harness.waiting()
    await harness.take(token="t1", count=1)
    (seen,) = await queue.in_flight(POOL, older_than_ms=0, limit=10)
    await harness.give_back([job], token="t1")
    await harness.take(token="t2", count=1)
    drop = [Verdict(job, "drop")]
    (now,) = await queue.in_flight(POOL, older_than_ms=0, limit=10)
    for entry in (
        seen,
        InFlight(job, now.claimed_ms - 1, "t2"),
        InFlight(job, now.claimed_ms, None),
        InFlight(job, now.claimed_ms, "t1"),
    ):
        assert await queue.sweep(POOL, seen=[entry], verdicts=drop, min_age_ms=0) == 0
    assert (await queue.locate(POOL, [job]))[0].token == "t2"


async def test_a_claim_of_the_future_counts_as_old(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """The server's clock was set back, or a score is not a time: it would stay in flight for ever."""
    job = await harness.waiting()
    await harness.take(token="t1", count=1)
    far = await queue.time_ms() + 3_600_000
    await queue._redis.zadd(queue._keys.pool(POOL).inflight, {job: far})
    waits = [Verdict(job, "delayed", 0, 12)]
    assert await queue.sweep(POOL, seen=[InFlight(job, far, "t1")], verdicts=waits, min_age_ms=7_200_000) == 0
    assert await queue.sweep(POOL, seen=[InFlight(job, far, "t1")], verdicts=waits, min_age_ms=60_000) == 1
    assert (await queue.locate(POOL, [job]))[0].place == "delayed"


async def test_a_walk_over_the_members_sees_all_of_them(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """In parts, also of a set that is stored as a tree."""
    entries = {job: Entry(job, number) for number, job in enumerate(harness.new_ids(700))}
    await queue.enqueue(POOL, list(entries.values()))
    seen: dict[str, int] = {}
    cursor, parts = 0, 0
    while parts == 0 or cursor:
        cursor, part = await queue.members(POOL, "ready", cursor=cursor, count=100)
        seen |= part
        parts += 1
    assert seen == {job: entry.score for job, entry in entries.items()}
    assert parts > 1


async def test_what_is_kept_about_ids_that_vanished_is_thrown_away(
    redis: Redis, queue: RedisJobQueue, harness: RedisHarness, namespace: str
) -> None:
    """As another hand leaves it: out of its set, and its holder or its place still there."""
    await harness.waiting()
    await harness.waiting()
    await harness.take(token="t1", count=2)
    await queue.enqueue(POOL, [Entry(name, 7, due_ms=2**52) for name in ("kept", "gone")])
    keys = Keys(namespace).pool(POOL)
    vanished = (await redis.zrange(keys.inflight, 0, 0))[0]
    await redis.zrem(keys.inflight, vanished)
    await redis.zrem(keys.delayed, "gone")
    assert await queue.tidy(POOL) == 2
    assert await redis.hkeys(keys.holder) == await redis.zrange(keys.inflight, 0, -1)
    assert await redis.hkeys(keys.score) == ["kept"]
    assert await queue.tidy(POOL) == 0


async def test_every_set_can_be_walked(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """With its own numbers."""
    flying = await harness.waiting()
    await harness.take(token="t1", count=1)
    delayed = await harness.waiting(due_in_ms=60_000)
    reserved = harness.new_ids(1)
    await queue.reserve(POOL, reserved, limit=10)
    now = await queue.time_ms()
    for place, job, low, high in (
        ("inflight", flying, now - 60_000, now),
        ("delayed", delayed, harness.entries[delayed].due_ms, harness.entries[delayed].due_ms),
        ("reserved", reserved[0], now, now + 60_000),
    ):
        (found,) = (await queue.members(POOL, place, cursor=0, count=10))[1]  # type: ignore[arg-type]
        assert found[0] == job
        assert low <= found[1] <= high


async def test_rescoring_moves_the_waiting_and_adds_nobody(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """A ready one at once, a delayed one when it is promoted."""
    first = await harness.waiting(age_ms=9_000)
    second = await harness.waiting()
    delayed = await harness.waiting(priority=2, due_in_ms=100)
    unknown = harness.new_ids(1)[0]
    boost = ready_score(2, 5, boosted=True)
    assert await queue.rescore(POOL, [Entry(job, boost) for job in (second, delayed, unknown)]) == 2
    assert (await queue.claim(POOL, token="t1", count=1)).ids == (second,)
    assert (await queue.locate(POOL, [unknown]))[0].place is None

    async def is_promoted() -> bool:
        await queue.promote(POOL)
        return (await queue.locate(POOL, [delayed]))[0].place == "ready"

    await eventually(is_promoted)
    assert (await queue.claim(POOL, token="t2", count=2)).ids == (delayed, first)


async def test_depths_tell_the_oldest_of_all_priorities(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """The creation time of the longest waiting job, whatever its rank."""
    assert (await queue.depths(POOL)).oldest_ms is None
    await harness.waiting(priority=0)
    low = await harness.waiting(priority=2, age_ms=60_000)
    assert (await queue.depths(POOL)).oldest_ms == harness.entries[low].score - ready_score(2, 0)


async def test_a_pool_is_complete_once_it_was_rebuilt(redis: Redis, namespace: str) -> None:
    """Before that nothing is granted, and each pool is on its own. Ending twice is ending once."""
    queue = RedisJobQueue(redis, namespace=namespace)
    assert not await queue.is_complete(POOL)
    reservation = await queue.reserve(POOL, ["a"], limit=5)
    assert (reservation.granted, reservation.complete) == (0, False)
    marker = await queue.begin_rebuild(POOL)
    assert not await queue.is_complete(POOL)
    assert await queue.finish_rebuild(POOL, marker)
    assert await queue.finish_rebuild(POOL, marker)
    assert await queue.is_complete(POOL)
    assert (await queue.depths(POOL)).complete
    assert not await queue.is_complete("other")


async def test_two_rebuilds_at_once_both_end(redis: Redis, namespace: str) -> None:
    """They share the marker, since nothing was lost; a made-up marker ends nothing."""
    queue = RedisJobQueue(redis, namespace=namespace)
    first, second = await queue.begin_rebuild(POOL), await queue.begin_rebuild(POOL)
    assert first == second
    assert not await queue.finish_rebuild(POOL, "x:1")
    assert await queue.finish_rebuild(POOL, first)
    assert await queue.finish_rebuild(POOL, second)


async def test_a_second_rebuild_leaves_a_complete_pool_complete(queue: RedisJobQueue) -> None:
    """A rebuild only adds."""
    marker = await queue.begin_rebuild(POOL)
    assert await queue.is_complete(POOL)
    assert await queue.finish_rebuild(POOL, marker)


async def test_a_server_that_may_evict_is_refused(own_redis_client: Redis, own_queue: RedisJobQueue) -> None:
    """It would throw waiting jobs away in silence."""
    await own_queue.check_policy()
    await own_redis_client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError, match="noeviction, not allkeys-lru"):
        await own_queue.check_policy()


async def test_a_waiting_id_costs_less_than_200_bytes(
    own_queue: RedisJobQueue, own_redis_client: Redis, own_harness: RedisHarness, namespace: str
) -> None:
    """10,000 of them, by what the server says it uses and by the size of the key."""
    before = (await own_redis_client.info("memory"))["used_memory"]
    now = await own_queue.time_ms()
    entries = [Entry(job, ready_score(1, now + n)) for n, job in enumerate(own_harness.new_ids(10_000))]
    assert await own_queue.enqueue(POOL, entries) == 10_000
    used = ((await own_redis_client.info("memory"))["used_memory"] - before) / 10_000
    key = (await own_redis_client.memory_usage(Keys(namespace).pool(POOL).ready, samples=0) or 0) / 10_000
    assert used < 200
    assert key < 200


async def test_a_missing_server_is_said_in_our_words(own_server: RedisServer, own_queue: RedisJobQueue) -> None:
    """Closing never fails, whatever is left to close."""
    own_server.stop()
    await own_queue.close()


async def test_depths_count_the_delayed_ids_whose_time_has_come(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """Nobody claims in a pool that has no worker process, so nothing else would promote them."""
    await harness.waiting(due_in_ms=60_000)
    await harness.waiting(due_in_ms=50)

    async def is_due() -> bool:
        depths = await queue.depths(POOL)
        return (depths.delayed, depths.due) == (2, 1)

    await eventually(is_due)


async def test_a_refill_adds_what_is_nowhere_and_moves_nothing(
    queue: RedisJobQueue, redis: Redis, harness: RedisHarness, namespace: str
) -> None:
    """Ready, delayed or in flight: it stays as it is. A place becomes an id that waits. Twice is once."""
    flying, ready = await harness.waiting(age_ms=2_000), await harness.waiting()
    delayed = await harness.waiting(due_in_ms=60_000)
    await harness.take(token="t1", count=1)
    (kept, *new) = harness.new_ids(1200)
    await queue.reserve(POOL, [kept], limit=5000)
    await redis.zadd(Keys(namespace).pool(POOL).reserved, {kept: 2**50})
    before = await queue.locate(POOL, [flying, ready, delayed])
    waiting = [(job, 10 + number) for number, job in enumerate([flying, ready, delayed, kept, *new])]
    assert await queue.refill(POOL, waiting) == 1200
    assert await queue.locate(POOL, [flying, ready, delayed]) == before
    assert [(one.place, one.score) for one in await queue.locate(POOL, [kept, new[-1]])] == [
        ("ready", 13),
        ("ready", 1212),
    ]
    assert await redis.zcard(Keys(namespace).pool(POOL).reserved) == 0
    assert await queue.refill(POOL, waiting) == 0
    assert await queue.refill(POOL, []) == 0


async def test_a_refill_keeps_every_digit_of_a_score(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """The largest is far beyond what Lua writes by itself."""
    (job,) = harness.new_ids(1)
    score = ready_score(2, 1_795_509_766_676)
    assert await queue.refill(POOL, [(job, score)]) == 1
    assert (await queue.locate(POOL, [job]))[0].score == score


@pytest.mark.parametrize("bad", [("a b", 1), ("", 1)])
async def test_a_refill_refuses_what_cannot_be_an_id(queue: RedisJobQueue, bad: tuple[str, int]) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"ids\[1\]"):
        await queue.refill(POOL, [("fine", 1), bad])
    assert (await queue.locate(POOL, ["fine"]))[0].place is None


@pytest.mark.parametrize("score", [-1, 2**53 + 2])
async def test_a_refill_refuses_a_score_that_redis_would_not_keep(queue: RedisJobQueue, score: int) -> None:
    """The script looks at all of them before its first write."""
    with pytest.raises(StoreUnavailableError, match="score must be a whole number"):
        await queue.refill(POOL, [("fine", 1), ("other", score)])
    assert (await queue.locate(POOL, ["fine"]))[0].place is None
