"""What a child tells event streams: once per step, in order, only what is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from worker_stage import POOL, Child, Stage

from headrace.contracts.events import JobEvent
from headrace.contracts.job import Job, Priority
from headrace.contracts.retry import RetryPolicy
from headrace.local.stores import RedisServer
from headrace.runtime.queue.event_sender import EventSender
from headrace.runtime.queue.history import EventLog
from headrace.runtime.store.event_reads import EventReads
from headrace.testing.eventually import eventually
from headrace.worker import outcome
from headrace.worker.announce import ChildAnnouncer
from headrace.worker.held import Held, Stop


class Told:
    """A child whose events go into the log, and the log."""

    def __init__(self, stage: Stage) -> None:
        self.log = EventLog(stage.redis, stage.config.namespace)
        self.sender = EventSender(self.log, asyncio.get_running_loop())
        self.announcer = ChildAnnouncer(self.sender, POOL, EventReads(stage.database))

    def child(self, stage: Stage, **options: object) -> Child:
        child = stage.child(start=False, **options)  # type: ignore[arg-type]
        for part in (child.settler, child.claims._refused, child.audit):
            part._announcer = self.announcer
        child.claim()
        return child

    async def events(self, job: Job | Held) -> list[JobEvent]:
        job_id = job.id if isinstance(job, Job) else job.job.id
        return [event for _, event in (await self.log.read(None)).events if event.id == job_id]

    async def names(self, job: Job | Held) -> list[str]:
        return [event.event.value for event in await self.events(job)]


@pytest.fixture
async def told(stage: Stage) -> AsyncIterator[Told]:
    told = Told(stage)
    running = asyncio.create_task(told.sender.run())
    yield told
    told.sender.close()
    await running


async def test_a_completed_job_is_told_after_mongodb_has_it(told: Told, stage: Stage) -> None:
    child = told.child(stage)
    (job,) = await stage.submit(tenant="red")
    held = await child.take()
    told.announcer.started(held)
    told.announcer.progressed(held, (0.5, "half"))
    child.complete(held)
    names = await eventually(lambda: _of_length(told, job, 3))
    assert await stage.in_state(job, "completed")
    assert names == ["job.started", "job.progress", "job.completed"]
    started, progress, completed = await told.events(job)
    assert (started.state, started.attempt, started.type, started.pool) == ("processing", 1, "noop", POOL)
    assert progress.progress is not None
    assert (progress.progress.fraction, progress.progress.message) == (0.5, "half")
    assert (completed.state, completed.tenant) == ("completed", "red")
    assert abs(completed.at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_retry_and_a_failure_are_told_apart(told: Told, stage: Stage) -> None:
    child = told.child(stage)
    (job,) = await stage.submit(max_retries=1)
    for _ in range(2):
        held = await child.take()
        held.settlement = outcome.failed(held.job, ValueError("x"), policy=RetryPolicy(), jitter=0.0, started_ms_ago=0)
        child.hand_in(held)
    await eventually(lambda: stage.in_state(job, "failed"))
    assert await eventually(lambda: _of_length(told, job, 2)) == ["job.retrying", "job.failed"]
    retrying, failed = await told.events(job)
    assert (retrying.state, retrying.attempt) == ("queued", 1)
    assert (failed.state, failed.attempt) == ("failed", 2)


async def test_a_job_handed_back_unstarted_is_no_event_and_a_started_one_is_queued_again(
    told: Told, stage: Stage
) -> None:
    child = told.child(stage, slots=1)
    (job,) = await stage.submit()
    held = await child.take()
    child.claims.stop()
    held.settlement = outcome.released(held.job, started_ms_ago=0)
    child.hand_in(held)
    assert await eventually(lambda: _of_length(told, job, 1)) == ["job.queued"]
    unstarted = await stage.claimed(child, priority=Priority.HIGH)
    child.settler.submit(unstarted)
    await eventually(lambda: stage.in_state(unstarted, "queued"))
    (last,) = await stage.submit()
    told.announcer.started(Held(last, "t"))
    await eventually(lambda: _of_length(told, last, 1))
    assert await told.names(unstarted) == []


async def test_an_accepted_cancel_is_told_and_a_fenced_end_is_not(told: Told, stage: Stage) -> None:
    child = told.child(stage, slots=2)
    (job,) = await stage.submit()
    held = await child.take()
    await stage.state.cancel(job.id, by="test")
    child.complete(held)
    assert await eventually(lambda: _of_length(told, job, 1)) == ["job.cancelled"]
    (taken,) = await stage.submit()
    held = await child.take()
    stage.jobs.update_one({"_id": taken.id}, {"$set": {"owner": "w-other"}})
    child.complete(held)
    await eventually(lambda: child.held.get(taken.id) is None)
    (lost,) = await stage.submit()
    held = await child.take()
    held.stop, held.settlement = Stop.LOST, None
    child.hand_in(held)
    await eventually(lambda: child.held.get(lost.id) is None)
    told.announcer.started(held)
    await eventually(lambda: _of_length(told, lost, 1))
    assert await told.names(taken) == []


async def test_a_job_that_came_too_late_is_told_as_failed(told: Told, stage: Stage) -> None:
    (job,) = await stage.submit(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    told.child(stage)
    await eventually(lambda: stage.in_state(job, "failed"))
    assert await eventually(lambda: _of_length(told, job, 1)) == ["job.failed"]


async def test_what_the_audit_hands_back_is_told(told: Told, stage: Stage) -> None:
    child = told.child(stage)
    child.claims.stop()
    held = await stage.claimed(child)
    child.feed.discard(held)
    child.held.drop(held)
    await child.audit.run_once()
    await child.audit.run_once()
    assert await eventually(lambda: _of_length(told, held, 1)) == ["job.queued"]


async def test_jobs_run_and_settle_while_redis_takes_no_events(own_stage: Stage, own_redis: RedisServer) -> None:
    """Events are best effort: nothing waits for them."""
    told = Told(own_stage)
    running = asyncio.create_task(told.sender.run())
    child = told.child(own_stage)
    (job,) = await own_stage.submit()
    held = await child.take()
    own_redis.stop()
    told.announcer.started(held)
    child.complete(held)
    await eventually(lambda: own_stage.in_state(job, "completed"))
    told.sender.close()
    await running
    own_redis.start()


async def _of_length(told: Told, job: Job | Held, count: int) -> list[str] | None:
    names = await told.names(job)
    return names if len(names) == count else None
