"""The starvation guard (C5): a job that waited too long is claimed next, whatever its priority."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from recovery_stage import LONG_AGO, POOL, Stage

from headrace.contracts.job import Priority, ready_score
from headrace.contracts.states import JobState
from headrace.recovery.parts import Parts
from headrace.recovery.recent import RecentDuty
from headrace.recovery.starvation import StarvationDuty
from headrace.runtime.queue import Entry, RedisJobQueue, redis_client
from headrace.runtime.store.persistent_queue import PersistentJobQueue
from headrace.testing.eventually import eventually

LIMIT = 60.0


def guard(stage: Stage, seconds: float = LIMIT) -> StarvationDuty:
    config = stage.parts.config.model_copy(update={"starvation_seconds": seconds})
    parts = Parts(**{name: getattr(stage.parts, name) for name in Parts.__dataclass_fields__} | {"config": config})
    return StarvationDuty(parts, stage.pools)


def ago(seconds: float) -> datetime:
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def test_c5_a_job_older_than_the_limit_is_claimed_next_whatever_its_priority(stage: Stage) -> None:
    low = await stage.job(priority=Priority.LOW, created_at=LONG_AGO, run_at=LONG_AGO)
    medium = await stage.job(created_at=ago(61), run_at=ago(61))
    young = await stage.job(priority=Priority.LOW, created_at=ago(50), run_at=ago(50))
    urgent = [await stage.job(priority=Priority.HIGH) for _ in range(3)]
    await stage.enqueue(low, medium, young, *urgent)
    assert await guard(stage).run_once() == {"boosted": 2}
    claim = await stage.parts.queue.claim(POOL, token="t", count=6)
    assert list(claim.ids) == [low.id, medium.id, *(job.id for job in urgent), young.id]


async def test_c5_the_score_stays_a_function_of_the_document(stage: Stage) -> None:
    job = await stage.job(priority=Priority.LOW, created_at=LONG_AGO, run_at=LONG_AGO)
    await stage.enqueue(job)
    await guard(stage).run_once()
    document = await stage.parts.database.jobs.find_one({"_id": job.id})
    boosted = await stage.document(job.id)
    assert boosted.boosted_at is not None
    assert document["score"] == boosted.ready_score == ready_score(0, int(LONG_AGO.timestamp() * 1000))
    assert (await stage.where(job.id)).score == boosted.ready_score
    assert len(boosted.log) == 1, "no change of state"
    assert (await stage.parts.reconcile.standings([job.id]))[0].score == boosted.ready_score
    assert await guard(stage).run_once() == {}, "once is enough"


async def test_a_job_waits_from_the_time_it_is_due(stage: Stage) -> None:
    """A retry or a delay starts the wait anew; a `run_at` of long ago does not make a new job old."""
    await stage.job(created_at=LONG_AGO, run_at=ago(5))
    await stage.job(created_at=LONG_AGO, run_at=ago(-60))
    await stage.job(created_at=ago(1), run_at=LONG_AGO)
    await stage.running(created_at=LONG_AGO, run_at=LONG_AGO)
    await stage.job(state=JobState.COMPLETED, created_at=LONG_AGO, run_at=LONG_AGO)
    await stage.job(priority=Priority.HIGH, created_at=LONG_AGO, run_at=LONG_AGO)
    assert await guard(stage).run_once() == {}


async def test_it_is_off_by_default(stage: Stage) -> None:
    await stage.job(created_at=LONG_AGO, run_at=LONG_AGO)
    assert await StarvationDuty(stage.parts, stage.pools).run_once() == {}


async def test_more_than_one_page_is_lifted_in_one_pass(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.recovery.starvation.PAGE", 2)
    jobs = [await stage.job(created_at=ago(100 - n), run_at=ago(100 - n)) for n in range(5)]
    await stage.enqueue(*jobs)
    assert await guard(stage).run_once() == {"boosted": 5}


async def test_a_lift_that_redis_did_not_hear_of_is_made_good_by_reconcile(stage: Stage) -> None:
    job = await stage.job(created_at=LONG_AGO, run_at=LONG_AGO)
    await stage.enqueue(job)
    away = redis_client("redis://127.0.0.1:1", kind="command", name="away")
    duty = guard(stage)
    parts = duty._parts
    object.__setattr__(parts, "queue", RedisJobQueue(away, namespace=stage.parts.config.namespace))
    assert await duty.run_once() == {"boosted": 1}
    await away.aclose()
    boosted = await stage.document(job.id)
    assert (await stage.where(job.id)).score == job.ready_score
    recent = RecentDuty(stage.parts, stage.mender)

    async def is_lifted() -> bool:
        await recent.run_once()
        return (await stage.where(job.id)).score == boosted.ready_score

    await eventually(is_lifted, within=5)


async def test_the_queue_in_mongodb_follows(stage: Stage) -> None:
    low = await stage.job(priority=Priority.LOW, created_at=LONG_AGO, run_at=LONG_AGO)
    high = await stage.job(priority=Priority.HIGH)
    await guard(stage).run_once()
    claim = await PersistentJobQueue(stage.parts.database).claim(POOL, token="t", count=2)
    assert list(claim.ids) == [low.id, high.id]


async def test_under_a_steady_stream_of_urgent_jobs_the_wait_is_the_limit_and_one_pass(stage: Stage) -> None:
    """The bound that is promised: limit + the duty's interval (+ what is claimed at that moment)."""
    limit = 1.0
    duty = guard(stage, limit)
    now = ago(0)
    low = await stage.job(priority=Priority.LOW, created_at=now, run_at=now)
    await stage.enqueue(low)
    began, stop = time.monotonic(), asyncio.Event()

    async def stream() -> None:
        while not stop.is_set():
            job = await stage.job(priority=Priority.HIGH)
            await stage.parts.queue.enqueue(POOL, [Entry(job.id, job.ready_score)])
            await asyncio.sleep(0.02)

    async def passes() -> None:
        while not stop.is_set():
            await duty.run_once()
            await asyncio.sleep(duty.seconds)

    tasks = [asyncio.create_task(stream()), asyncio.create_task(passes())]
    try:
        while True:
            claim = await stage.parts.queue.claim(POOL, token=f"t{time.monotonic_ns()}", count=1)
            if low.id in claim.ids:
                break
            assert time.monotonic() - began < 10, "starved"
            await asyncio.sleep(0.04)  # fewer than arrive: something urgent always waits
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    assert limit - 0.1 <= time.monotonic() - began <= limit + duty.seconds + 1.0
