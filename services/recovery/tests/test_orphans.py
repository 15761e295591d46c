"""Jobs of dead workers: state before, one pass, state after."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr
from recovery_stage import LONG_AGO, POOL, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.states import JobState, Reason
from headrace.local import ports
from headrace.recovery import orphans
from headrace.recovery.orphans import OrphanDuty


async def last_reason(stage: Stage, job_id: str) -> Reason:
    return (await stage.document(job_id)).log[-1].reason


async def test_a_started_job_of_a_killed_child_waits_again_with_one_crash(stage: Stage) -> None:
    job = await stage.running()
    await stage.in_flight(job.id, seconds_ago=1)
    await stage.worker()
    await stage.die(running=(job.id,))
    assert await OrphanDuty(stage.parts).run_once() == {"orphaned": 1}
    after = await stage.document(job.id)
    assert (after.state, after.attempt, after.crashes, after.owner) == (JobState.QUEUED, 1, 1, None)
    located = await stage.where(job.id)
    assert (located.place, located.score, located.token) == ("ready", job.ready_score, None)


async def test_b3_a_job_that_had_not_started_pays_nothing(stage: Stage) -> None:
    job = await stage.running()
    await stage.worker()
    await stage.die(running=())
    await OrphanDuty(stage.parts).run_once()
    assert (await stage.document(job.id)).crashes == 0


async def test_b3_only_the_culprit_pays_when_one_is_known(stage: Stage) -> None:
    pill, neighbour = await stage.running(), await stage.running()
    await stage.worker()
    await stage.die(running=(pill.id, neighbour.id), culprit=pill.id)
    await OrphanDuty(stage.parts).run_once()
    assert [(await stage.document(job.id)).crashes for job in (pill, neighbour)] == [1, 0]


async def test_b3_what_a_graceful_child_left_is_released_without_cost(stage: Stage) -> None:
    job = await stage.running(crashes=1)
    await stage.worker()
    await stage.parts.incarnations.mark_dead("w-1", exit_record=ExitRecord(kind="graceful"), running=[job.id])
    assert await OrphanDuty(stage.parts).run_once() == {"released": 1}
    assert (await stage.document(job.id)).crashes == 1


async def test_a_headway_since_the_last_crash_sets_the_count_back(stage: Stage) -> None:
    job = await stage.running(crashes=2, checkpoint="{}", checkpoint_attempt=1)
    await stage.worker()
    await stage.die(running=(job.id,))
    await OrphanDuty(stage.parts).run_once()
    after = await stage.document(job.id)
    assert (after.state, after.crashes) == (JobState.QUEUED, 0)


async def test_the_last_allowed_crash_ends_the_job_and_leaves_nothing_in_redis(stage: Stage) -> None:
    job = await stage.running(crashes=2)
    await stage.in_flight(job.id, seconds_ago=1)
    await stage.worker()
    await stage.die(running=(job.id,))
    assert await OrphanDuty(stage.parts).run_once() == {"crash_loop": 1}
    after = await stage.document(job.id)
    assert (after.state, after.error and after.error.type) == (JobState.FAILED, "crash_loop")
    assert (await stage.where(job.id)).place is None


async def test_an_accepted_cancel_wins_over_the_requeue(stage: Stage) -> None:
    job = await stage.running(cancel_requested_at=LONG_AGO)
    await stage.worker()
    await stage.die(running=(job.id,))
    assert await OrphanDuty(stage.parts).run_once() == {"cancelled": 1}
    assert (await stage.document(job.id)).state is JobState.CANCELLED


async def test_jobs_of_the_living_are_left_alone(stage: Stage) -> None:
    job = await stage.running()
    await stage.worker(lease_seconds=0.001)
    assert await OrphanDuty(stage.parts).run_once() == {}
    assert (await stage.document(job.id)).state is JobState.PROCESSING


async def test_a4_a_claim_applied_after_the_sweep_of_its_dead_owner_is_found(stage: Stage) -> None:
    """The pass starts from the jobs, so it does not matter that nothing was there when the owner died."""
    await stage.worker()
    await stage.die()
    duty = OrphanDuty(stage.parts)
    assert await duty.run_once() == {}
    late = await stage.running()
    assert await duty.run_once() == {"orphaned": 1}
    assert (await stage.document(late.id)).state is JobState.QUEUED


async def test_a4_an_owner_without_a_document_is_dead(stage: Stage) -> None:
    job = await stage.running(owner="w-aged-out")
    assert await OrphanDuty(stage.parts).run_once() == {"host_lost": 1}
    assert (await last_reason(stage, job.id)) is Reason.HOST_LOST


async def test_hazard_12_the_name_of_a_worker_that_starts_again_protects_nothing(stage: Stage) -> None:
    """Two incarnations of one service on one host: the new one's life does not hide the old one's death."""
    job = await stage.running(owner="w-old")
    await stage.worker("w-old")
    await stage.die("w-old", running=(job.id,))
    await stage.worker("w-new")
    assert await OrphanDuty(stage.parts).run_once() == {"orphaned": 1}
    assert (await stage.document(job.id)).state is JobState.QUEUED


@pytest.mark.parametrize("meanwhile", [{"state": "completed"}, {"attempt": 2, "owner": "w-2"}])
async def test_hazard_11_a_stale_snapshot_changes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, meanwhile: dict[str, object]
) -> None:
    """Between select and update the worker completes the job, or another recovery's requeue made a new attempt."""
    job = await stage.running()
    await stage.worker()
    await stage.die(running=(job.id,))

    async def change(name: str) -> None:
        if name == "between_select_and_update":
            await stage.parts.database.jobs.update_one({"_id": job.id}, {"$set": meanwhile})

    monkeypatch.setattr(orphans, "afp", change)
    assert await OrphanDuty(stage.parts).run_once() == {}
    after = await stage.document(job.id)
    assert (len(after.log), after.crashes) == (1, 0)
    assert after.state is not JobState.QUEUED
    assert (await stage.where(job.id)).place is None


async def test_two_recoveries_at_once_move_each_job_once(stage: Stage) -> None:
    jobs = [await stage.running() for _ in range(40)]
    await stage.worker()
    await stage.die(running=tuple(job.id for job in jobs))
    counts = await asyncio.gather(OrphanDuty(stage.parts).run_once(), OrphanDuty(stage.parts).run_once())
    assert sum(sum(count.values()) for count in counts) == len(jobs)
    for job in jobs:
        after = await stage.document(job.id)
        assert (after.crashes, len(after.log)) == (1, 2)
    assert await stage.held_ids() == {job.id: "ready" for job in jobs}


async def test_b6_a_due_time_to_come_travels_with_the_push(stage: Stage) -> None:
    later = LONG_AGO.replace(year=LONG_AGO.year + 1)
    job = await stage.running(run_at=later)
    await stage.in_flight(job.id, seconds_ago=1)
    await OrphanDuty(stage.parts).run_once()
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("delayed", job.run_at_ms)


async def test_b6_a_later_claim_keeps_the_id(stage: Stage) -> None:
    """In flight under another token: somebody popped it since."""
    job = await stage.running()
    await stage.in_flight(job.id, seconds_ago=1, token="t2")
    await OrphanDuty(stage.parts).run_once()
    located = await stage.where(job.id)
    assert (located.place, located.token) == ("inflight", "t2")


async def test_b6_mongodb_comes_first_and_a_lost_push_is_no_failure(config: JobConfig) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{ports.free_port()}")
    async with open_stage(config.model_copy(update={"redis_url": nowhere})) as stage:
        job = await stage.running()
        assert await OrphanDuty(stage.parts).run_once() == {"host_lost": 1}
        assert (await stage.document(job.id)).state is JobState.QUEUED


async def test_one_refused_update_does_not_lose_the_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await stage.running() for _ in range(3)]
    hand_back = stage.parts.jobs.hand_back

    async def sometimes(orphan, decision, *, by):
        if orphan.job_id == jobs[1].id:
            raise StoreUnavailableError("once")
        return await hand_back(orphan, decision, by=by)

    monkeypatch.setattr(stage.parts.jobs, "hand_back", sometimes)
    with pytest.raises(StoreUnavailableError):
        await OrphanDuty(stage.parts).run_once()
    assert await stage.held_ids() == {jobs[0].id: "ready", jobs[2].id: "ready"}
    assert POOL in await stage.pools.names()
