"""The queue over the job documents: the behaviour suite of every queue, and what is its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.runtime.process.ids import new_job_id
from headrace.runtime.queue.base import Entry, JobQueue, Verdict
from headrace.runtime.store import persistent_queue
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.runtime.store.values import Settlement
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually

# The suite lives beside the other queue's tests; test folders are no packages, so it is found by its folder.
sys.path.insert(0, str(Path(__file__).parents[1] / "queue"))
pytest.register_assert_rewrite("behaviour")

from behaviour import BEHAVIOURS  # noqa: E402 -- needs the path above

POOL = "default"


@dataclass
class PersistentHarness:
    """Jobs are stored, claimed and settled in the documents; the queue is told as if it were an index."""

    queue: PersistentJobQueue
    kit: Any
    pool: str = POOL

    async def waiting(self, *, priority: int = 1, age_ms: int = 0, due_in_ms: int = 0) -> str:
        job = make_job().evolve(priority=priority)
        created, due = job.created_at - timedelta(milliseconds=age_ms), timedelta(milliseconds=due_in_ms)
        job = job.evolve(created_at=created, run_at=job.created_at + due)
        await self.kit.manager.insert([job])
        await self.queue.enqueue(self.pool, [entry(job)])
        return job.id

    async def take(self, *, token: str, count: int) -> list[str]:
        claim = await self.queue.claim(self.pool, token=token, count=count)
        jobs = await self.kit.manager.claim(claim.ids, token=token, owner=f"w-{token}", types=["noop"])
        return [job.id for job in jobs]

    async def finish(self, ids: Sequence[str]) -> None:
        await self._leave(ids, JobState.COMPLETED, Reason.COMPLETED)
        await self.queue.settle(self.pool, ids)

    async def give_back(self, ids: Sequence[str], *, token: str, due_in_ms: int = 0) -> None:
        await self._leave(ids, JobState.QUEUED, Reason.RELEASED, due_in_ms or None)
        entries = [entry(await self.kit.reads.job(job_id), token=token) for job_id in ids]
        await (self.queue.requeue if due_in_ms else self.queue.release)(self.pool, entries)

    async def enqueue_again(self, job_id: str) -> None:
        await self.queue.enqueue(self.pool, [entry(await self.kit.reads.job(job_id))])

    def new_ids(self, count: int) -> list[str]:
        return [new_job_id() for _ in range(count)]

    async def _leave(self, ids: Sequence[str], to: JobState, reason: Reason, delay_ms: int | None = None) -> None:
        for job_id in ids:
            job = await self.kit.reads.job(job_id)
            settlement = Settlement(job_id, job.attempt, to, reason, delay_ms=delay_ms)
            await self.kit.manager.settle([settlement], by=job.owner)


def entry(job: Job, *, token: str = "") -> Entry:
    return Entry(job.id, job.ready_score, job.run_at_ms, token)


@pytest.fixture
def queue(kit: Any) -> PersistentJobQueue:
    return PersistentJobQueue(kit.database)


@pytest.fixture
def harness(kit: Any, queue: PersistentJobQueue) -> PersistentHarness:
    return PersistentHarness(queue, kit)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda check: check.__name__)
async def test_the_persistent_queue_behaves(
    behaviour: Callable[[Any], Awaitable[None]], harness: PersistentHarness
) -> None:
    """The suite that every queue passes."""
    await behaviour(harness)


def test_it_is_a_job_queue(queue: PersistentJobQueue) -> None:
    typed: JobQueue = queue
    assert typed is queue


async def test_two_processes_never_run_one_job_although_both_are_offered_it(kit: Any) -> None:
    one, other = (PersistentHarness(PersistentJobQueue(kit.database), kit) for _ in range(2))
    jobs = [await one.waiting() for _ in range(10)]
    taken = await asyncio.gather(one.take(token="a", count=7), other.take(token="b", count=7))
    assert len(taken[0]) + len(taken[1]) == len(set(taken[0]) | set(taken[1])) >= 7
    rest = await one.take(token="c", count=10)
    assert sorted([*taken[0], *taken[1], *rest]) == sorted(jobs)


async def test_a_refused_job_does_not_hold_up_those_behind_it(harness: PersistentHarness) -> None:
    foreign = await harness.kit.put(type="foreign")
    job = await harness.waiting()
    claim = await harness.queue.claim(POOL, token="t1", count=1)
    assert claim.ids == (foreign.id,)
    later = claim.now_ms + 2_000
    verdict = Verdict(foreign.id, "delayed", due_ms=later, score=foreign.ready_score)
    assert await harness.queue.putback(POOL, token="other", verdicts=[verdict]) == 0
    assert await harness.queue.putback(POOL, token="t1", verdicts=[verdict]) == 1
    assert (await harness.queue.claim(POOL, token="t2", count=1)).ids == (job,)
    idle = await harness.queue.claim(POOL, token="t3", count=1)
    assert (idle.ids, idle.next_due_ms) == ((), later)

    async def comes_back() -> bool:
        return foreign.id in (await harness.queue.claim(POOL, token=f"t{new_job_id()}", count=1)).ids

    await eventually(comes_back)


@pytest.mark.parametrize("place", ["drop", "leave"])
async def test_an_id_that_was_judged_gone_is_offered_again_only_if_its_document_waits(
    harness: PersistentHarness, place: Any
) -> None:
    job = await harness.waiting()
    await harness.queue.claim(POOL, token="t1", count=1)
    assert await harness.queue.putback(POOL, token="t1", verdicts=[Verdict(job, place)]) == 1
    assert await harness.take(token="t2", count=1) == [job]
    assert await harness.take(token="t3", count=1) == []


async def test_a_claim_that_nobody_resolved_is_offered_again_after_its_deadline(
    harness: PersistentHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistent_queue, "HANDED_OUT_MS", 200)
    job = await harness.waiting()
    assert (await harness.queue.claim(POOL, token="t1", count=1)).ids == (job,)
    assert (await harness.queue.claim(POOL, token="t2", count=1)).ids == ()

    async def comes_back() -> bool:
        return (await harness.queue.claim(POOL, token=f"t{new_job_id()}", count=1)).ids == (job,)

    await eventually(comes_back)


async def test_answers_are_forgotten_after_their_time(
    harness: PersistentHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistent_queue, "CLAIM_ANSWER_MS", 1)
    jobs = [await harness.waiting(), await harness.waiting()]
    assert await harness.take(token="t1", count=1) == [jobs[0]]

    async def forgotten() -> bool:
        return (await harness.queue.claim(POOL, token="t1", count=1)).ids == (jobs[1],)

    await eventually(forgotten)


async def test_jobs_that_had_to_start_by_now_and_other_pools_are_not_offered(kit: Any, queue: Any, now: Any) -> None:
    kit.place(JobState.QUEUED, expires_at=now - timedelta(seconds=1))
    kit.place(JobState.QUEUED, pool="other")
    in_time = kit.place(JobState.QUEUED, expires_at=now + timedelta(hours=1))
    assert (await queue.claim(POOL, token="t1", count=10)).ids == (in_time.id,)
    assert (await queue.claim("other", token="t2", count=0)).ids == ()


async def test_a_full_answer_asks_to_look_again_at_once_and_an_empty_pool_not_at_all(
    harness: PersistentHarness,
) -> None:
    empty = await harness.queue.claim(POOL, token="t0", count=1)
    assert (empty.ids, empty.next_due_ms, empty.paused) == ((), None, False)
    await harness.waiting()
    full = await harness.queue.claim(POOL, token="t1", count=1)
    assert full.next_due_ms == full.now_ms


async def test_the_bound_is_counted_and_stored_jobs_have_their_place_already(harness: PersistentHarness) -> None:
    stored = await harness.waiting()
    ids = harness.new_ids(3)
    first = await harness.queue.reserve(POOL, ids, limit=10)
    assert (first.granted, first.pending, first.complete) == (3, 4, True)
    assert (await harness.queue.reserve(POOL, [stored, *ids], limit=1)).granted == 1
    over = await harness.queue.reserve(POOL, ids, limit=0)
    assert (over.granted, over.pending) == (0, 1)
    assert (await harness.queue.reserve(POOL, [], limit=5)).granted == 0


async def test_the_clock_is_the_servers(harness: PersistentHarness) -> None:
    (now,) = [document["now"] for document in harness.kit.admin.aggregate([{"$documents": [{"now": "$$NOW"}]}])]
    reservation = await harness.queue.reserve(POOL, [], limit=1)
    assert abs(reservation.now_ms - now.timestamp() * 1000) < 5_000


async def test_a_pause_is_the_pools_own_and_everybody_sees_it(kit: Any, queue: PersistentJobQueue) -> None:
    await queue.pause(POOL, False)
    assert kit.raw.pools.count_documents({}) == 0
    await queue.pause(POOL, True, "$why")
    assert await kit.reads.paused() == {POOL: "$why"}
    assert not (await queue.depths("other")).paused
    await queue.pause(POOL, False)
    assert kit.raw.pools.find_one({"_id": POOL}) == {"_id": POOL, "paused": False}


async def test_boosted_jobs_count_as_high_and_the_oldest_waiting_is_named(kit: Any, queue: Any, now: Any) -> None:
    old = kit.place(JobState.QUEUED, priority=2, boosted_at=now, created_at=now - timedelta(hours=1))
    kit.place(JobState.QUEUED, priority=2)
    kit.place(JobState.QUEUED, run_at=now + timedelta(hours=1), created_at=now - timedelta(hours=2))
    kit.place(JobState.PROCESSING, created_at=now - timedelta(hours=3))
    kit.place(JobState.COMPLETED)
    depths = await queue.depths(POOL)
    assert dict(depths.waiting) == {"high": 1, "medium": 0, "low": 1}
    assert (depths.delayed, depths.in_flight, depths.reserved, depths.complete) == (1, 1, 0, True)
    assert depths.oldest_ms == round(old.created_at.timestamp() * 1000)
    assert (await queue.depths("none")).oldest_ms is None


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.reserve(POOL, ["a b"], limit=1),
        lambda queue: queue.reserve(POOL, ["a"], limit=-1),
        lambda queue: queue.reserve(POOL, ["a"], limit=1, ttl_ms=0),
        lambda queue: queue.enqueue(POOL, [Entry("", 1)]),
        lambda queue: queue.enqueue(POOL, [], drop=["$"]),
        lambda queue: queue.claim(POOL, token="", count=1),
        lambda queue: queue.claim(POOL, token="t", count=1001),
        lambda queue: queue.settle(POOL, ["\n"]),
        lambda queue: queue.requeue(POOL, [Entry("a", -1)]),
        lambda queue: queue.release(POOL, [Entry("a", 2**60)]),
        lambda queue: queue.putback(POOL, token="t", verdicts=[Verdict("a b", "drop")]),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(kit: Any, queue: Any, call: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        await call(queue)
    assert kit.commands == []
