"""What every `JobQueue` does, whatever it is made of: run each of `BEHAVIOURS` with a harness on a real store.

A harness belongs to one pool that starts empty and complete. For a queue of another kind::

    sys.path.insert(0, str(folder_of_this_file))
    pytest.register_assert_rewrite("behaviour")
    from behaviour import BEHAVIOURS

    @pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda check: check.__name__)
    async def test_my_queue_behaves(behaviour, my_harness):
        await behaviour(my_harness)

Not here, because only an index beside the truth has it: tokens of stale callers, put-backs, sweeps, rebuilds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headrace.runtime.queue import JobQueue
from headrace.testing.eventually import eventually

HIGH, MEDIUM, LOW = 0, 1, 2


class Harness(Protocol):
    """A queue under test, and what the rest of the system does around its verbs."""

    queue: JobQueue
    pool: str

    async def waiting(self, *, priority: int = MEDIUM, age_ms: int = 0, due_in_ms: int = 0) -> str:
        """A new job, stored and enqueued, created `age_ms` ago. Later calls make younger jobs for equal ages."""

    async def take(self, *, token: str, count: int) -> list[str]:
        """`claim`, then what a worker does with the truth. The ids in the order of the answer."""

    async def finish(self, ids: Sequence[str]) -> None:
        """The truth says that these claimed jobs are over; then `settle`."""

    async def give_back(self, ids: Sequence[str], *, token: str, due_in_ms: int = 0) -> None:
        """The truth says that these claimed jobs are queued again; then `requeue`, or `release` when due now."""

    async def enqueue_again(self, job_id: str) -> None:
        """A second `enqueue` of a job that `waiting` made."""

    def new_ids(self, count: int) -> list[str]:
        """Ids that no job has yet."""


async def a_claim_takes_the_most_urgent_first(h: Harness) -> None:
    """Priority counts before age, between all three."""
    low, medium, high = (
        await h.waiting(priority=LOW, age_ms=60_000),
        await h.waiting(priority=MEDIUM, age_ms=30_000),
        await h.waiting(priority=HIGH),
    )
    assert await h.take(token="t1", count=2) == [high, medium]
    assert await h.take(token="t2", count=2) == [low]


async def inside_a_priority_the_oldest_goes_first(h: Harness) -> None:
    """Age counts, not the order of the enqueues."""
    young = await h.waiting(age_ms=1_000)
    old = await h.waiting(age_ms=9_000)
    middle = await h.waiting(age_ms=5_000)
    assert await h.take(token="t1", count=3) == [old, middle, young]


async def a_high_job_that_comes_last_is_claimed_next(h: Harness) -> None:
    """However many low ones wait."""
    for _ in range(30):
        await h.waiting(priority=LOW, age_ms=60_000)
    assert len(await h.take(token="t1", count=2)) == 2
    high = await h.waiting(priority=HIGH)
    assert (await h.take(token="t2", count=2))[0] == high


async def a_claim_takes_no_more_than_it_asked_for(h: Harness) -> None:
    """And leaves the rest to others."""
    for _ in range(5):
        await h.waiting()
    assert len(await h.take(token="t1", count=3)) == 3
    assert len(await h.take(token="t2", count=3)) == 2
    assert await h.take(token="t3", count=3) == []


async def the_same_token_gets_the_same_answer(h: Harness) -> None:
    """A claim whose answer was lost takes nothing more when it is repeated."""
    for _ in range(6):
        await h.waiting()
    first = await h.queue.claim(h.pool, token="t1", count=2)
    again = await h.queue.claim(h.pool, token="t1", count=2)
    assert len(first.ids) == 2
    assert again.ids == first.ids
    assert not set(await h.take(token="t2", count=6)) & set(first.ids)


async def an_empty_answer_is_not_kept(h: Harness) -> None:
    """A token that got nothing may get something later."""
    assert await h.take(token="t1", count=2) == []
    job = await h.waiting()
    assert await h.take(token="t1", count=2) == [job]


async def claims_at_once_share_nothing(h: Harness) -> None:
    """Eight claimers, forty jobs: each job once."""
    jobs = [await h.waiting() for _ in range(40)]
    taken = await asyncio.gather(*(h.take(token=f"t{n}", count=5) for n in range(8)))
    # An optimistic claimer may lose a race and come back with less; the rest is still there.
    rest = await h.take(token="rest", count=40)
    assert sorted([job for ids in taken for job in ids] + rest) == sorted(jobs)


async def a_delayed_job_is_never_claimed_early(h: Harness) -> None:
    """But soon after, and the claim says when to look again."""
    job = await h.waiting(due_in_ms=400)
    first = await h.queue.claim(h.pool, token="t0", count=1)
    assert first.ids == ()
    assert first.next_due_ms is not None
    due_ms = first.next_due_ms
    assert 0 < due_ms - first.now_ms <= 1000

    number = 0

    async def claimed() -> bool:
        nonlocal number
        number += 1
        claim = await h.queue.claim(h.pool, token=f"t{number}", count=1)
        assert not claim.ids or claim.now_ms >= due_ms
        return claim.ids == (job,)

    await eventually(claimed, within=5)


async def a_delayed_job_takes_its_place_when_it_is_due(h: Harness) -> None:
    """Its place comes from its priority and age, not from when it became due."""
    old = await h.waiting(age_ms=60_000, due_in_ms=150)
    young = await h.waiting()
    await asyncio.sleep(0.3)  # until it is due: the claim itself must find it, so nothing can be polled
    assert await h.take(token="t1", count=2) == [old, young]


async def a_paused_pool_claims_nothing_and_takes_everything(h: Harness) -> None:
    """A pause stops claims alone, and ends."""
    await h.waiting()
    await h.queue.pause(h.pool, True, "maintenance")
    await h.queue.pause(h.pool, True, "maintenance")
    claim = await h.queue.claim(h.pool, token="t1", count=5)
    assert claim.ids == ()
    assert claim.paused
    await h.waiting()
    assert (await h.queue.depths(h.pool)).paused
    await h.queue.pause(h.pool, False)
    assert len(await h.take(token="t2", count=5)) == 2
    assert not (await h.queue.depths(h.pool)).paused


async def a_settled_job_is_never_claimed_again(h: Harness) -> None:
    """Settling twice is settling once."""
    job, other = await h.waiting(age_ms=5_000), await h.waiting()
    assert await h.take(token="t1", count=1) == [job]
    await h.finish([job])
    await h.queue.settle(h.pool, [job])
    assert await h.take(token="t2", count=5) == [other]


async def a_released_job_gets_its_old_place(h: Harness) -> None:
    """It goes before those that are younger."""
    job = await h.waiting(age_ms=5_000)
    young = await h.waiting()
    assert await h.take(token="t1", count=1) == [job]
    await h.give_back([job], token="t1")
    assert await h.take(token="t2", count=5) == [job, young]


async def a_retried_job_waits_until_it_is_due(h: Harness) -> None:
    """With a delay it is not claimed at once."""
    job = await h.waiting()
    assert await h.take(token="t1", count=1) == [job]
    await h.give_back([job], token="t1", due_in_ms=300)
    assert await h.take(token="t2", count=1) == []

    number = 2

    async def claimed() -> bool:
        nonlocal number
        number += 1
        return await h.take(token=f"t{number}", count=1) == [job]

    await eventually(claimed, within=5)


async def a_job_enqueued_twice_waits_once(h: Harness) -> None:
    """Whoever pushes it again."""
    job = await h.waiting()
    await h.enqueue_again(job)
    assert await h.take(token="t1", count=5) == [job]
    await h.enqueue_again(job)
    assert await h.take(token="t2", count=5) == []


async def depths_count_what_is_where(h: Harness) -> None:
    """By priority, delayed and in flight."""
    for priority in (HIGH, MEDIUM, MEDIUM, LOW):
        await h.waiting(priority=priority)
    await h.waiting(due_in_ms=60_000)
    await h.take(token="t1", count=2)
    depths = await h.queue.depths(h.pool)
    assert dict(depths.waiting) == {"high": 0, "medium": 1, "low": 1}
    assert (depths.delayed, depths.in_flight) == (1, 2)


async def the_bound_counts_whatever_is_not_over(h: Harness) -> None:
    """Ready, delayed and in flight; a prefix of the ids fits; what is over makes room."""
    await h.waiting()
    await h.waiting(due_in_ms=60_000)
    await h.waiting(age_ms=5_000)
    taken = await h.take(token="t1", count=1)
    ids = h.new_ids(4)
    first = await h.queue.reserve(h.pool, ids, limit=5)
    assert (first.granted, first.complete) == (2, True)
    assert (await h.queue.reserve(h.pool, ids, limit=5)).granted == 2
    await h.queue.enqueue(h.pool, [], drop=ids[:2])
    await h.finish(taken)
    assert (await h.queue.reserve(h.pool, ids, limit=5)).granted == 3


BEHAVIOURS = (
    a_claim_takes_the_most_urgent_first,
    inside_a_priority_the_oldest_goes_first,
    a_high_job_that_comes_last_is_claimed_next,
    a_claim_takes_no_more_than_it_asked_for,
    the_same_token_gets_the_same_answer,
    an_empty_answer_is_not_kept,
    claims_at_once_share_nothing,
    a_delayed_job_is_never_claimed_early,
    a_delayed_job_takes_its_place_when_it_is_due,
    a_paused_pool_claims_nothing_and_takes_everything,
    a_settled_job_is_never_claimed_again,
    a_released_job_gets_its_old_place,
    a_retried_job_waits_until_it_is_due,
    a_job_enqueued_twice_waits_once,
    depths_count_what_is_where,
    the_bound_counts_whatever_is_not_over,
)
