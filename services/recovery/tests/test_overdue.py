"""B8: recovery ends what neither a worker child nor its supervisor ends, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from recovery_stage import LONG_AGO, POOL, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.executor import ExecutionPolicy
from headrace.contracts.job import Job
from headrace.contracts.retry import RetryPolicy
from headrace.contracts.states import JobState, Reason
from headrace.local import ports
from headrace.recovery import overdue
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.overdue import CancelDuty, TimeoutDuty, decide_timeout
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.state_overdue import Overdue


def at_failpoint(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Run `act` between the look and the update."""

    async def afp(_name: str) -> None:
        await act()

    monkeypatch.setattr(overdue, "afp", afp)


async def overrunning(stage: Stage, **fields: Any) -> Job:
    """A job of a live worker, in flight, that ought to have been stopped long ago."""
    await stage.worker()
    job = await stage.running(**{"timeout_seconds": 5, "max_retries": 3} | fields)
    await stage.in_flight(job.id, seconds_ago=600)
    return job


async def test_b8_a_run_far_beyond_its_time_fails_once_and_waits_for_its_retry(stage: Stage) -> None:
    policy = ExecutionPolicy(pool=POOL, retry=RetryPolicy(base_seconds=100, cap_seconds=100))
    await stage.parts.job_types.register([JobType("noop", policy, {})])
    job = await overrunning(stage, crashes=1, expires_at=LONG_AGO)
    assert await TimeoutDuty(stage.parts, dice=lambda: 0.5).run_once() == {"timeout": 1}
    after = await stage.document(job.id)
    assert (after.state, after.failures, after.crashes, after.attempt) == (JobState.QUEUED, 1, 1, 1)
    assert (after.owner, after.claim_token, after.expires_at) == (None, None, None)
    assert after.error is not None
    assert (after.error.type, after.errors[-1].type) == ("timeout", "timeout")
    assert (after.log[-1].reason, after.log[-1].by, after.log[-1].owner) == (Reason.TIMEOUT, "recovery", "w-1")
    assert after.run_at - after.log[-1].at == timedelta(seconds=50), "half of the back-off of its type"
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("delayed", after.run_at_ms)
    [(_, event)] = (await stage.parts.events.read(None)).events
    assert (event.event.value, event.state) == ("job.retrying", JobState.QUEUED)


async def test_b8_without_a_retry_left_it_is_a_dead_letter(stage: Stage) -> None:
    job = await overrunning(stage, failures=3)
    assert await TimeoutDuty(stage.parts).run_once() == {"timeout": 1}
    after = await stage.document(job.id)
    assert (after.state, after.failures, after.log[-1].reason) == (JobState.FAILED, 4, Reason.TIMEOUT)
    assert await stage.held_ids() == {}


async def test_b8_an_accepted_cancel_wins_over_the_timeout(stage: Stage) -> None:
    job = await overrunning(stage, cancel_requested_at=datetime.now(UTC))
    assert await TimeoutDuty(stage.parts).run_once() == {"cancelled": 1}
    after = await stage.document(job.id)
    assert (after.state, after.failures) == (JobState.CANCELLED, 0)
    assert await stage.held_ids() == {}


async def test_b8_there_is_a_minute_and_the_horizon_beyond_the_limit(config: JobConfig) -> None:
    settings = config.model_copy(update={"claim_horizon_ms": 2000})
    async with open_stage(settings) as stage:
        await stage.worker()
        now = await stage.parts.reconcile.now()
        for seconds, ends in ((74.0, False), (75.5, True)):  # 5 s, a minute, five times the horizon
            job = await stage.running(claimed_at=now - timedelta(seconds=seconds), timeout_seconds=5)
            assert bool(await TimeoutDuty(stage.parts).run_once()) is ends
            assert ((await stage.document(job.id)).state is JobState.QUEUED) is ends


async def test_b8_what_the_dead_left_is_no_failure_of_the_job(stage: Stage) -> None:
    """After an outage of recovery itself every orphan is far beyond its time."""
    await stage.worker("w-dead")
    await stage.worker("w-lapsed", lease_seconds=-1)
    jobs = [await stage.running(owner, timeout_seconds=5) for owner in ("w-dead", "w-lapsed", "w-unknown")]
    await stage.die("w-dead")
    assert await TimeoutDuty(stage.parts).run_once() == {}
    assert await OrphanDuty(stage.parts).run_once() == {"orphaned": 1, "host_lost": 1}
    assert [(await stage.document(job.id)).failures for job in jobs] == [0, 0, 0]


@pytest.mark.parametrize("duty", [TimeoutDuty, CancelDuty])
async def test_b8_what_moved_on_since_the_look_is_left_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, duty: type[TimeoutDuty | CancelDuty]
) -> None:
    """State, attempt and owner must be as read: completed, claimed anew, or held by somebody else."""
    changes: list[dict[str, Any]] = [{"state": "completed"}, {"attempt": 2}, {"owner": "w-2"}]
    asked = LONG_AGO if duty is CancelDuty else None
    jobs = [await overrunning(stage, cancel_requested_at=asked) for _ in changes]

    async def move_on() -> None:
        for job, change in zip(jobs, changes, strict=True):
            await stage.parts.database.jobs.update_one({"_id": job.id}, {"$set": change})

    at_failpoint(monkeypatch, move_on)
    assert await duty(stage.parts).run_once() == {}
    for job, change in zip(jobs, changes, strict=True):
        after = await stage.document(job.id)
        assert (after.log, after.failures) == (job.log, 0), change


async def test_b8_the_clock_is_asked_again_by_the_update(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two primaries the clock may go back, and what was overdue is not."""
    job = await overrunning(stage)

    async def claimed_later() -> None:
        now = await stage.parts.reconcile.now()
        await stage.parts.database.jobs.update_one({"_id": job.id}, {"$set": {"claimed_at": now}})

    at_failpoint(monkeypatch, claimed_later)
    assert await TimeoutDuty(stage.parts).run_once() == {}
    assert (await stage.document(job.id)).state is JobState.PROCESSING


async def test_a_cancel_that_a_live_worker_ignores_for_a_lease_is_carried_out(stage: Stage) -> None:
    await stage.worker()
    lease = timedelta(seconds=stage.parts.config.lease_seconds)
    now = await stage.parts.reconcile.now()
    fresh = await stage.running(cancel_requested_at=now - lease + timedelta(seconds=5))
    ignored = await stage.running(cancel_requested_at=now - lease - timedelta(seconds=1))
    for job in (fresh, ignored):
        await stage.in_flight(job.id, seconds_ago=600)
    duty = CancelDuty(stage.parts)
    assert await duty.run_once() == {"cancelled": 1}
    assert (await stage.document(fresh.id)).state is JobState.PROCESSING
    after = await stage.document(ignored.id)
    assert (after.state, after.log[-1].reason, after.log[-1].by) == (JobState.CANCELLED, Reason.CANCELLED, "recovery")
    assert after.finished_at is not None
    assert await stage.held_ids() == {fresh.id: "inflight"}
    assert await duty.run_once() == {}


async def test_runs_are_ended_while_redis_is_away(config: JobConfig) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{ports.free_port()}")
    async with open_stage(config.model_copy(update={"redis_url": nowhere})) as stage:
        await stage.worker()
        job = await stage.running(timeout_seconds=5)
        assert await TimeoutDuty(stage.parts).run_once() == {"timeout": 1}
        assert (await stage.document(job.id)).state is JobState.QUEUED


async def test_two_recoveries_end_a_run_once(stage: Stage, config: JobConfig) -> None:
    jobs = [await overrunning(stage) for _ in range(10)]
    async with open_stage(config) as other:
        counts = await asyncio.gather(*(TimeoutDuty(one.parts).run_once() for one in (stage, other)))
    assert sum(count["timeout"] for count in counts) == 10
    for job in jobs:
        after = await stage.document(job.id)
        assert (after.failures, len(after.log)) == (1, len(job.log) + 1)


@pytest.mark.parametrize(
    ("failures", "retries", "decided"),
    [
        (0, 3, (JobState.QUEUED, 5_000)),
        (2, 3, (JobState.QUEUED, 20_000)),
        (3, 3, (JobState.FAILED, None)),
        (0, 0, (JobState.FAILED, None)),
    ],
)
def test_a_timeout_follows_the_retry_policy(failures: int, retries: int, decided: tuple[JobState, int | None]) -> None:
    job = Overdue("j", POOL, "noop", None, 1, "w", "t", 0, failures, retries, 5.0)
    assert decide_timeout(job, RetryPolicy(base_seconds=10), jitter=0.5) == decided
