"""The verbs of a job's way, where the behaviour suite does not look: stale callers, repeats, bad arguments."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis_harness import POOL, RedisHarness

from headrace.contracts.job import SCORE_STEP, ready_score
from headrace.runtime.queue import Entry, RedisJobQueue, Verdict
from headrace.runtime.queue.keys import Keys
from headrace.testing.eventually import eventually


async def place(queue: RedisJobQueue, job: str) -> str | None:
    return (await queue.locate(POOL, [job]))[0].place


async def test_a_place_counts_until_it_is_enqueued_or_dropped(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """The bound is over ready, delayed, in flight and reserved together."""
    ids = harness.new_ids(4)
    first = await queue.reserve(POOL, ids, limit=3)
    assert (first.granted, first.pending, first.complete) == (3, 3, True)
    assert (await queue.reserve(POOL, harness.new_ids(1), limit=3)).granted == 0
    now = first.now_ms
    assert await queue.enqueue(POOL, [Entry(ids[0], now), Entry(ids[1], now, now + 60_000)], drop=[ids[2]]) == 2
    depths = await queue.depths(POOL)
    assert (depths.waiting["high"], depths.delayed, depths.reserved) == (1, 1, 0)
    assert (await queue.reserve(POOL, harness.new_ids(2), limit=3)).granted == 1


async def test_a_repeated_reservation_grants_the_same_places(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """By id, so a lost answer costs nothing; also when a part has gone on already."""
    ids = harness.new_ids(3)
    assert (await queue.reserve(POOL, ids, limit=3)).granted == 3
    await queue.enqueue(POOL, [Entry(ids[0], 1)])
    again = await queue.reserve(POOL, [*ids, ids[1], *harness.new_ids(1)], limit=3)
    assert (again.granted, again.pending) == (4, 3)


async def test_a_reservation_of_more_than_one_script_takes_grants_a_prefix(
    queue: RedisJobQueue, harness: RedisHarness
) -> None:
    """2,500 ids are five scripts."""
    ids = harness.new_ids(2500)
    assert (await queue.reserve(POOL, ids, limit=2100)).granted == 2100
    assert await queue.enqueue(POOL, [Entry(job, 1) for job in ids[:2100]]) == 2100
    assert (await queue.reserve(POOL, [], limit=2100)).pending == 2100
    assert await queue.remove(POOL, ids) == 2100


async def test_an_expired_place_counts_until_it_is_freed(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """And a renewed or a live one is not freed."""
    old, live = harness.new_ids(2)
    await queue.reserve(POOL, [old], limit=5, ttl_ms=1)
    await queue.reserve(POOL, [live], limit=5)

    async def expired() -> list[str]:
        return await queue.expired_reservations(POOL, 10)

    assert await eventually(expired) == [old]
    assert (await queue.reserve(POOL, [], limit=5)).pending == 2
    assert await queue.free(POOL, [old, live, "unknown"]) == 1
    assert await queue.free(POOL, [old]) == 0
    assert (await queue.locate(POOL, [old, live]))[1].place == "reserved"
    assert (await queue.reserve(POOL, [], limit=5)).pending == 1


async def test_enqueue_leaves_what_is_somewhere_already(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """In ready, delayed or in flight: a late or second push changes nothing, and the same id twice is one."""
    flying = await harness.waiting(age_ms=9_000)
    await harness.take(token="t1", count=1)
    ready = await harness.waiting()
    delayed = await harness.waiting(due_in_ms=60_000)
    new = harness.new_ids(1)[0]
    entries = [Entry(job, 7) for job in (flying, ready, delayed, new)] + [Entry(new, 7, 2**50)]
    assert await queue.enqueue(POOL, entries) == 1
    assert [found.place for found in await queue.locate(POOL, [flying, ready, delayed, new])] == [
        "inflight",
        "ready",
        "delayed",
        "ready",
    ]
    assert (await queue.locate(POOL, [ready]))[0].score == harness.entries[ready].score


async def test_scores_keep_every_digit(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """Also of an id that was delayed; once promoted its place is in the ready set alone."""
    lowest = ready_score(2, 2**43 - 1)
    ids = harness.new_ids(2)
    now = await queue.time_ms()
    await queue.enqueue(POOL, [Entry(ids[0], lowest), Entry(ids[1], lowest - 1, now + 500)])
    assert await eventually(lambda: queue.promote(POOL)) == 1
    found = dict((await queue.members(POOL, "ready", cursor=0, count=10))[1])
    assert found == {ids[0]: lowest, ids[1]: lowest - 1}
    assert lowest == 3 * SCORE_STEP - 1
    assert await redis.hlen(Keys(namespace).pool(POOL).score) == 0


async def test_a_claim_says_when_to_look_again(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """The due time of the next delayed id and the lateness of its promotion; None when none waits."""
    assert (await queue.claim(POOL, token="t1", count=1)).next_due_ms is None
    job = await harness.waiting(due_in_ms=30_000)
    claim = await queue.claim(POOL, token="t2", count=1)
    assert claim.next_due_ms == harness.entries[job].due_ms + 50
    assert abs(claim.now_ms - await queue.time_ms()) < 5_000


async def test_a_claim_promotes_more_than_it_takes(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """Else a high job that is due behind many low ones would be overtaken. Bounded all the same."""
    now = await queue.time_ms()
    due = [Entry(job, ready_score(2, now), now + 500) for job in harness.new_ids(100)]
    await queue.enqueue(POOL, due)
    await eventually(lambda: _time_is(queue, now + 560))
    assert len((await queue.claim(POOL, token="t1", count=1)).ids) == 1
    depths = await queue.depths(POOL)
    assert (depths.waiting["low"], depths.delayed) == (63, 36)
    assert await queue.promote(POOL, limit=10) == 10
    assert await queue.promote(POOL) == 26


async def _time_is(queue: RedisJobQueue, moment_ms: int) -> bool:
    return await queue.time_ms() >= moment_ms


async def test_claims_that_took_something_are_counted(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """Repeats and empty ones are not: the counter orders claims."""
    await harness.waiting()
    for token in ("t1", "t1", "t2"):
        await queue.claim(POOL, token=token, count=1)
    assert await redis.get(Keys(namespace).pool(POOL).claims) == "1"


async def test_an_answer_is_kept_for_a_minute(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """Longer than any caller repeats a claim."""
    await harness.waiting()
    await queue.claim(POOL, token="t1", count=1)
    assert 50_000 < await redis.pttl(Keys(namespace).pool(POOL).claim("t1")) <= 60_000


async def test_a_paused_pool_still_repeats_an_answer(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """Those ids were taken before the pause; without them their owner could not give them back."""
    job = await harness.waiting()
    await queue.claim(POOL, token="t1", count=1)
    await queue.pause(POOL, True, "x")
    again = await queue.claim(POOL, token="t1", count=1)
    assert (again.ids, again.paused) == ((job,), True)


@pytest.mark.parametrize("delay_ms", [0, 60_000])
async def test_a_stale_requeue_leaves_a_later_claim_alone(
    queue: RedisJobQueue, harness: RedisHarness, delay_ms: int
) -> None:
    """B5: a requeue that arrives late, after somebody else claimed the id, changes nothing."""
    job = await harness.waiting()
    await harness.take(token="t1", count=1)
    now = await queue.time_ms()
    entry = Entry(job, harness.entries[job].score, now + delay_ms if delay_ms else 0, "t1")
    assert await queue.requeue(POOL, [entry]) == 1
    assert await queue.requeue(POOL, [entry]) == 0
    if delay_ms:
        await queue.remove(POOL, [job])
        await harness.enqueue_again(job)
    await harness.take(token="t2", count=1)
    assert await queue.requeue(POOL, [entry]) == 0
    found = (await queue.locate(POOL, [job]))[0]
    assert (found.place, found.token) == ("inflight", "t2")


async def test_a_requeue_acts_on_the_absent_and_the_unheld(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """Also on an id that only has a place; one that waits already stays where it is."""
    absent, reserved = harness.new_ids(2)
    await queue.reserve(POOL, [reserved], limit=10)
    unheld = await harness.waiting(age_ms=9_000)
    await harness.take(token="t1", count=1)
    await queue.putback(POOL, token="t1", verdicts=[Verdict(unheld, "leave")])
    waiting = await harness.waiting()
    entries = [Entry(job, 5) for job in (absent, reserved, unheld, waiting, absent)]
    assert await queue.release(POOL, entries) == 3
    found = await queue.locate(POOL, [absent, reserved, unheld, waiting])
    assert [one.place for one in found] == ["ready"] * 4
    assert found[3].score == harness.entries[waiting].score
    assert (await queue.depths(POOL)).reserved == 0


async def test_refused_ids_are_put_where_their_documents_say(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """A5: gone, later, soon but never at once, or left in flight under no token."""
    jobs = [await harness.waiting(age_ms=9_000 - n) for n in range(4)]
    assert await harness.take(token="t1", count=4) == jobs
    gone, later, soon, processing = jobs
    now = await queue.time_ms()
    verdicts = [
        Verdict(gone, "drop"),
        Verdict(later, "delayed", now + 60_000, 11),
        Verdict(soon, "delayed", 0, 12),
        Verdict(processing, "leave"),
    ]
    assert await queue.putback(POOL, token="t1", verdicts=verdicts) == 4
    found = {one.id: one for one in await queue.locate(POOL, jobs)}
    assert [found[job].place for job in jobs] == [None, "delayed", "delayed", "inflight"]
    assert found[later].score == now + 60_000
    assert now + 250 <= (found[soon].score or 0) <= now + 10_000
    assert found[processing].token is None
    assert await queue.putback(POOL, token="t1", verdicts=verdicts) == 0
    assert (await queue.claim(POOL, token="t2", count=4)).ids == ()


async def test_a_stale_putback_leaves_a_later_claim_alone(queue: RedisJobQueue, harness: RedisHarness) -> None:
    """B5, also while the id waits."""
    job = await harness.waiting()
    await harness.take(token="t1", count=1)
    await harness.give_back([job], token="t1")
    assert await queue.putback(POOL, token="t1", verdicts=[Verdict(job, "drop")]) == 0
    assert await place(queue, job) == "ready"
    await harness.take(token="t2", count=1)
    assert await queue.putback(POOL, token="t1", verdicts=[Verdict(job, "drop")]) == 0
    assert await place(queue, job) == "inflight"


async def test_removal_finds_an_id_wherever_it_is(
    queue: RedisJobQueue, harness: RedisHarness, redis: Redis, namespace: str
) -> None:
    """And leaves no trace of it: what stays are the epoch, the counters and the claim's answer."""
    flying = await harness.waiting()
    await harness.take(token="t1", count=1)
    ready, delayed = await harness.waiting(), await harness.waiting(due_in_ms=60_000)
    reserved = harness.new_ids(1)[0]
    await queue.reserve(POOL, [reserved], limit=10)
    assert await queue.remove(POOL, [flying, ready, delayed, reserved, "unknown"]) == 4
    assert await queue.remove(POOL, [flying, ready, delayed, reserved]) == 0
    keys = Keys(namespace).pool(POOL)
    left = {key async for key in redis.scan_iter(match=f"{namespace}*")}
    assert left == {keys.epoch, keys.claims, keys.drained, keys.claim("t1")}
