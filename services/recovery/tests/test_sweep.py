"""Ids that stayed in flight: state before, one pass, state after."""

from __future__ import annotations

import asyncio

import pytest
from recovery_stage import POOL, Stage

from headrace.contracts.states import JobState
from headrace.recovery import sweep
from headrace.recovery.sweep import SweepDuty
from headrace.testing.builders import make_job_id

OLD, YOUNG = 11, 9


@pytest.fixture
def duty(stage: Stage) -> SweepDuty:
    return SweepDuty(stage.parts, stage.pools, stage.suspects)


async def test_popped_and_never_claimed_comes_back(stage: Stage, duty: SweepDuty) -> None:
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=OLD)
    assert await duty.run_once() == {"stuck_inflight": 1}
    located = await stage.where(job.id)
    assert located.place == "delayed", "never straight to the head: a claim may still be committing"
    await asyncio.sleep(0.35)
    await duty.run_once()
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("ready", job.ready_score)


async def test_b2_an_id_younger_than_the_deadline_of_a_claim_is_left_alone(stage: Stage, duty: SweepDuty) -> None:
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=YOUNG)
    assert await duty.run_once() == {}
    assert (await stage.where(job.id)).place == "inflight"


async def test_a_running_job_stays(stage: Stage, duty: SweepDuty) -> None:
    job = await stage.running()
    await stage.in_flight(job.id, seconds_ago=3600)
    assert await duty.run_once() == {}
    assert (await stage.where(job.id)).token == "t1"


async def test_a_job_that_is_over_goes(stage: Stage, duty: SweepDuty) -> None:
    await stage.know_pool()
    job = await stage.job(state=JobState.COMPLETED)
    await stage.in_flight(job.id, seconds_ago=OLD)
    assert await duty.run_once() == {"ghost": 1}
    assert (await stage.where(job.id)).place is None


async def test_a_job_that_waits_for_its_time_goes_to_its_time(stage: Stage, duty: SweepDuty) -> None:
    now = await stage.parts.reconcile.now()
    job = await stage.job(run_at=now.replace(year=now.year + 1))
    await stage.in_flight(job.id, seconds_ago=OLD)
    assert await duty.run_once() == {"stuck_inflight": 1}
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("delayed", job.run_at_ms)


async def test_c10_an_id_without_a_document_is_only_suspected(stage: Stage, duty: SweepDuty) -> None:
    await stage.know_pool()
    ghost = make_job_id()
    await stage.in_flight(ghost, seconds_ago=OLD)
    assert await duty.run_once() == {}
    assert (await stage.where(ghost)).place == "inflight"
    assert len(stage.suspects) == 1


async def test_b2_what_was_claimed_again_since_the_look_is_left_alone(
    stage: Stage, duty: SweepDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=OLD)

    async def claim_again(_name: str) -> None:
        await stage.in_flight(job.id, seconds_ago=0, token="t2")

    monkeypatch.setattr(sweep, "afp", claim_again)
    assert await duty.run_once() == {}
    assert (await stage.where(job.id)).token == "t2"


async def test_a_long_run_that_ended_just_now_is_no_drift(stage: Stage, duty: SweepDuty) -> None:
    """Whoever ended it says so to Redis next."""
    await stage.know_pool()
    now = await stage.parts.reconcile.now()
    over = await stage.job(state=JobState.COMPLETED, updated_at=now)
    again = await stage.job(updated_at=now)
    for job in (over, again):
        await stage.in_flight(job.id, seconds_ago=3600)
    assert await duty.run_once() == {}
    assert set((await stage.held_ids()).values()) == {"inflight"}


async def test_more_ids_than_one_page_are_all_swept(stage: Stage, duty: SweepDuty) -> None:
    jobs = [await stage.job() for _ in range(3)]
    forged = {f"forged-{n}": 1 for n in range(1500)}
    await stage.redis.zadd(stage.keys.inflight, forged)
    for job in jobs:
        await stage.in_flight(job.id, seconds_ago=OLD)
    assert await duty.run_once() == {"stuck_inflight": 3}
    assert len(stage.suspects) == 1500


async def test_c6_what_is_due_becomes_ready_where_nobody_claims(stage: Stage, duty: SweepDuty) -> None:
    job = await stage.job()
    await stage.redis.zadd(stage.keys.delayed, {job.id: await stage.parts.queue.time_ms() - 1000})
    await stage.redis.hset(stage.keys.score, job.id, job.ready_score)
    await duty.run_once()
    assert (await stage.where(job.id)).place == "ready"


async def test_a_broken_pool_does_not_keep_the_others_waiting(stage: Stage, duty: SweepDuty) -> None:
    await stage.job(pool="a-broken")
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=OLD)
    broken = stage.keys.inflight.replace(POOL, "a-broken")
    await stage.redis.set(broken, "not a zset")
    with pytest.raises(Exception, match="not a zset"):
        await duty.run_once()
    assert (await stage.where(job.id)).place == "delayed"
