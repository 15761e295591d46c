"""A worker is killed between the two writes of an end: MongoDB has it, Redis never hears of it. Who removes the id."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry
from recovery_stage import POOL, Stage

from headrace.contracts.job import Job
from headrace.contracts.states import JobState, Reason
from headrace.recovery.full import FullPass
from headrace.recovery.judge import SETTLE_MS, SWEEP_AFTER_MS
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.recent import RecentDuty
from headrace.recovery.sweep import SweepDuty
from headrace.runtime.store.values import Settlement

TOKEN, OWNER = "w-1.t1", "w-1"
NOTHING = {"missing": 0, "ghost": 0, "stuck_inflight": 0, "wrong_order": 0}


async def ended_untold(stage: Stage) -> Job:
    """A job's way up to its end in MongoDB by the calls of a worker, but for the last: `settle` in Redis."""
    await stage.know_pool()
    await stage.complete()
    job = await stage.job()
    await stage.enqueue(job)
    await stage.worker(OWNER)
    assert (await stage.parts.queue.claim(POOL, token=TOKEN, count=1)).ids == (job.id,)
    [claimed] = await stage.parts.jobs.claim([job.id], token=TOKEN, owner=OWNER, types=["noop"])
    settlement = Settlement(job.id, claimed.attempt, JobState.COMPLETED, Reason.COMPLETED)
    await stage.parts.jobs.settle([settlement], by=OWNER)
    assert (await stage.where(job.id)).place == "inflight"
    return job


async def passes(stage: Stage, job: Job, *, since_claim_ms: int, since_end_ms: int) -> None:
    """Let time go by, in both stores."""
    now = await stage.parts.reconcile.now()
    await stage.parts.database.jobs.update_one(
        {"_id": job.id}, {"$set": {"updated_at": now - timedelta(milliseconds=since_end_ms)}}
    )
    await stage.in_flight(job.id, seconds_ago=since_claim_ms / 1000, token=TOKEN)


def told(stage: Stage, duty: FullPass) -> float:
    """`job_drift{kind="ghost"}` after this pass."""
    registry = CollectorRegistry()
    RecoveryMetrics(registry).drifted(duty.drift_by_kind)
    return registry.get_sample_value("job_drift", {"kind": "ghost"}) or 0.0


async def test_an_end_that_redis_never_heard_of_is_swept_ten_seconds_after_its_claim(stage: Stage) -> None:
    """It looks every second, so the id is gone twelve seconds after its claim, or three after the end of a long run."""
    job, sweep = await ended_untold(stage), SweepDuty(stage.parts, stage.pools, stage.suspects)
    await passes(stage, job, since_claim_ms=SWEEP_AFTER_MS - 1000, since_end_ms=SETTLE_MS + 1)
    assert await sweep.run_once() == {}, "until then its claim may only be slow"
    await passes(stage, job, since_claim_ms=3_600_000, since_end_ms=0)
    assert await sweep.run_once() == {}, "a long run that ended just now: the worker says so next"
    await passes(stage, job, since_claim_ms=SWEEP_AFTER_MS + 1, since_end_ms=SETTLE_MS + 1)
    assert await sweep.run_once() == {"ghost": 1}
    assert (await stage.where(job.id)).place is None
    assert (await stage.parts.queue.depths(POOL)).in_flight == 0


async def test_the_drift_tells_of_it_and_the_full_pass_removes_it_too(stage: Stage) -> None:
    job, looking = await ended_untold(stage), FullPass(stage.parts, stage.pools, None)
    await passes(stage, job, since_claim_ms=SETTLE_MS + 1000, since_end_ms=SETTLE_MS + 1)
    assert await RecentDuty(stage.parts, stage.mender).run_once() == {}, "it leaves completed jobs to the sweep"
    await looking.run_once()
    assert looking.drift_by_kind == NOTHING | {"ghost": 1}
    assert told(stage, looking) == 1.0
    assert await FullPass(stage.parts, stage.pools, stage.mender).run_once() == {"ghost": 1}
    assert (await stage.where(job.id)).place is None
    await looking.run_once()
    assert (looking.drift_by_kind, told(stage, looking)) == (NOTHING, 0.0)
