"""The claim loop on real stores: what it takes, in which order, and what becomes of what it may not have."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from worker_stage import POOL, Stage

from headrace.contracts.job import Job, Priority
from headrace.contracts.states import JobState
from headrace.local.stores import RedisServer
from headrace.runtime.process import failpoints
from headrace.runtime.queue.base import PUTBACK_MS, Entry
from headrace.runtime.store.pools import Pools
from headrace.testing.builders import make_job, make_job_id
from headrace.testing.eventually import eventually
from headrace.worker import claim_loop
from headrace.worker.judge import UNKNOWN_TYPE_MS


def soon(seconds: float) -> datetime:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def test_jobs_are_claimed_by_priority_then_age_and_never_more_than_there_are_threads(stage: Stage) -> None:
    low, medium, high = [
        (await stage.submit(2, priority=priority)) for priority in (Priority.LOW, Priority.MEDIUM, Priority.HIGH)
    ]
    child = stage.child(slots=2)
    first, second = await child.take(), await child.take()
    assert [first.job.id, second.job.id] == [job.id for job in high]
    await asyncio.sleep(0.1)
    assert (await stage.queue.depths(POOL)).in_flight == 2, "nothing is claimed ahead at horizon 0"
    # A more urgent job that comes now is next, before what has waited for long.
    (urgent,) = await stage.submit(priority=Priority.HIGH)
    child.complete(first)
    child.complete(second)
    assert await child.run_jobs(5) == [urgent.id, *(job.id for job in medium), *(job.id for job in low)]
    await eventually(lambda: len(child.held) == 0)
    assert child.held.open_tokens == set()
    assert child.board.counters() == (7, 0, 0)


async def test_a_delayed_job_is_taken_when_it_is_due_and_not_before(stage: Stage) -> None:
    due = soon(0.6)
    (job,) = await stage.submit(run_at=due)
    child = stage.child()
    held = await child.take()
    assert held.job.id == job.id
    assert datetime.now(UTC) >= due
    child.complete(held)


async def test_a_paused_pool_is_left_alone_and_goes_on_within_a_second(stage: Stage) -> None:
    await stage.queue.pause(POOL, True, "test")
    child = stage.child()
    (job,) = await stage.submit()
    await asyncio.sleep(0.2)
    assert child.feed.waiting == 0
    assert (await stage.job(job)).attempt == 0
    await stage.queue.pause(POOL, False)
    child.complete(await child.take(within=5))


async def test_a_loop_that_stood_still_asks_whether_it_was_taken_for_dead_before_it_claims(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_loop, "STILL_SECONDS", 1.5)
    child = stage.child()
    await asyncio.sleep(1.2)  # a poll is no standstill
    assert child.lives == 0
    child.declared_dead = True
    (job,) = await stage.submit()
    time.sleep(2.7)  # as when the process is stopped, or one call holds the interpreter's lock
    await eventually(lambda: child.lives == 1)
    assert (await stage.job(job)).attempt == 0
    assert (await stage.queue.depths(POOL)).in_flight == 0


async def test_b12_a_paused_pool_is_left_alone_while_redis_is_down(own_stage: Stage, own_redis: RedisServer) -> None:
    (job,) = await own_stage.submit()
    pools = Pools(own_stage.database)
    await pools.pause(POOL, "test", "me")
    own_redis.kill()
    child = own_stage.child()
    await asyncio.sleep(0.5)
    assert (await own_stage.job(job)).state is JobState.QUEUED
    await pools.resume(POOL, "me")
    child.complete(await child.take())


# -- hazard 7: the claim's own failures ------------------------------------------------------------------------


async def test_hazard_7_a_claim_whose_answer_is_lost_is_resolved_by_its_token(stage: Stage) -> None:
    jobs = await stage.submit(2)
    error = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
    with stage.failing("update", times=1, **error):
        child = stage.child()
        taken = [await child.take(), await child.take()]
    assert [held.job.id for held in taken] == [job.id for job in jobs]
    assert [held.job.attempt for held in taken] == [1, 1]
    for held in taken:
        child.complete(held)
    for job in jobs:
        await eventually(lambda job=job: stage.in_state(job, "completed"))
        assert await stage.reasons(job) == ["submitted", "claimed", "completed"]


async def test_hazard_7_a_claim_that_was_not_applied_comes_back_and_costs_nothing(stage: Stage) -> None:
    (job,) = await stage.submit()
    with stage.failing("update", times=1, closeConnection=True):
        child = stage.child()
        held = await child.take()
    assert (held.job.id, held.job.attempt) == (job.id, 1)
    child.complete(held)
    await eventually(lambda: stage.in_state(job, "completed"))


async def test_hazard_7_while_the_token_cannot_be_asked_the_claim_stays_open(stage: Stage) -> None:
    (job,) = await stage.submit()
    # The claim is refused an answer twice: at the update, and at the first question for its token.
    with stage.failing("update", "find", times=3, errorCode=50):
        child = stage.child()
        await eventually(lambda: len(child.held.open_tokens) == 1)
        await asyncio.sleep(0.15)
        assert len(child.held.open_tokens) == 1, "the audit must leave it alone until it is resolved"
        held = await child.take()
    assert held.job.attempt == 1
    child.complete(held)
    await eventually(lambda: stage.in_state(job, "completed"))
    assert await stage.reasons(job) == ["submitted", "claimed", "completed"]


async def test_stopping_ends_a_claim_that_cannot_be_resolved_and_leaves_it_to_recovery(stage: Stage) -> None:
    (job,) = await stage.submit()
    with stage.failing("update", "find", errorCode=50):
        child = stage.child()
        await eventually(lambda: len(child.held.open_tokens) == 1)
        began = time.monotonic()
        child.claims.stop()
        await eventually(lambda: len(child.held.open_tokens) == 0)
        assert time.monotonic() - began < 5
    assert (await stage.where(job)).place == "inflight", "never put back before its outcome is known"
    assert (await stage.job(job)).state is JobState.QUEUED


async def test_a_redis_that_stalls_is_asked_again_with_the_same_token_and_gives_no_second_set_of_jobs(
    own_stage: Stage, own_redis: RedisServer
) -> None:
    jobs = await own_stage.submit(4)
    own_redis.pause()
    child = own_stage.child(slots=2)
    await asyncio.sleep(2.3)  # the first call has been given up, and will be carried out all the same
    own_redis.resume()
    assert [(await child.take()).job.id for _ in range(2)] == [job.id for job in jobs[:2]]
    assert (await own_stage.queue.depths(POOL)).in_flight == 2


async def test_an_unexpected_error_does_not_end_the_loop(stage: Stage, failpoint: None) -> None:
    failpoints.install("worker.after_pop=error:RuntimeError,once")
    (lost,) = await stage.submit()
    child = stage.child()
    await eventually(lambda: _in_flight(stage, lost))
    (job,) = await stage.submit()
    child.claims.poke()
    held = await child.take()
    assert held.job.id == job.id
    child.complete(held)
    assert (await stage.job(lost)).state is JobState.QUEUED, "in flight and queued: the sweep's business"


async def _in_flight(stage: Stage, job: Job) -> bool:
    return (await stage.where(job)).place == "inflight"


# -- A5: refused ids are judged --------------------------------------------------------------------------------


async def ready(stage: Stage, *jobs: Job) -> None:
    """Ids that Redis offers whatever their documents say."""
    await stage.queue.enqueue(POOL, [Entry(job.id, job.ready_score) for job in jobs])


async def test_a5_an_id_without_a_job_and_the_id_of_a_job_that_is_over_are_dropped(stage: Stage) -> None:
    ghost, over = make_job(), make_job()
    await stage.state.insert([over])
    await stage.state.cancel(over.id, by="test")
    await ready(stage, ghost, over)
    stage.child()
    for job in (ghost, over):
        await eventually(lambda job=job: _gone(stage, job))


async def _gone(stage: Stage, job: Job) -> bool:
    return (await stage.where(job)).place is None


async def test_a5_a_job_that_is_not_due_waits_until_it_is(stage: Stage) -> None:
    """Redis' clock is ahead of MongoDB's, or the entry is from before a retry."""
    job = make_job(run_at=soon(60))
    await stage.state.insert([job])
    await ready(stage, job)
    stage.child()

    async def delayed() -> bool:
        located = await stage.where(job)
        return (located.place, located.score, located.token) == ("delayed", job.run_at_ms, None)

    await eventually(delayed)
    assert (await stage.job(job)).attempt == 0


async def test_a5_a_job_that_runs_elsewhere_stays_in_flight_under_no_token(stage: Stage) -> None:
    job = make_job()
    await stage.state.insert([job])
    await stage.state.claim([job.id], token="theirs", owner="w-other", types=["noop"])
    await ready(stage, job)
    stage.child()

    async def left() -> bool:
        located = await stage.where(job)
        return (located.place, located.token) == ("inflight", None)

    await eventually(left)
    stored = await stage.job(job)
    assert (stored.owner, stored.attempt) == ("w-other", 1)


async def test_a5_a_job_that_had_to_start_by_now_fails_as_expired_and_is_dropped(stage: Stage) -> None:
    job = make_job(expires_at=soon(-5))
    await stage.state.insert([job])
    await ready(stage, job)
    stage.child()
    stored = await eventually(lambda: stage.in_state(job, "failed"))
    assert stored.log[-1].reason == "expired"
    await eventually(lambda: _gone(stage, job))


async def test_a5_a_due_job_that_was_refused_comes_back_a_moment_later_and_is_run(stage: Stage) -> None:
    (job,) = await stage.submit()
    with stage.failing("update", times=1, closeConnection=True):
        child = stage.child()
        now_ms = await stage.queue.time_ms()
        await eventually(lambda: _delayed_by(stage, job, now_ms, PUTBACK_MS))
        held = await child.take()
    child.complete(held)


async def _delayed_by(stage: Stage, job: Job, now_ms: int, wait_ms: int) -> bool:
    located = await stage.where(job)
    return located.place == "delayed" and now_ms + wait_ms <= (located.score or 0) <= now_ms + wait_ms + 5000


async def test_b13_a_job_of_an_unknown_type_waits_five_seconds_and_holds_up_nobody(stage: Stage) -> None:
    (strange,) = await stage.submit(type="strange", priority=Priority.HIGH)
    known = await stage.submit(3)
    now_ms = await stage.queue.time_ms()
    child = stage.child(slots=1)
    assert await child.run_jobs(3) == [job.id for job in known]
    await eventually(lambda: _delayed_by(stage, strange, now_ms, UNKNOWN_TYPE_MS))
    assert (await stage.job(strange)).attempt == 0


async def test_a_job_of_a_newer_payload_version_is_left_to_workers_that_know_it_and_holds_up_nobody(
    stage: Stage,
) -> None:
    (newer,) = await stage.submit(contract_version=3, priority=Priority.HIGH)
    known = [(await stage.submit(contract_version=version))[0] for version in (1, 2)]
    now_ms = await stage.queue.time_ms()
    with structlog.testing.capture_logs() as logs:
        old = stage.child(slots=1, versions={"noop": 2})
        assert await old.run_jobs(2) == [job.id for job in known]
        await eventually(lambda: _delayed_by(stage, newer, now_ms, UNKNOWN_TYPE_MS))
    (told,) = [line for line in logs if line["event"] == "claim.newer_version"]
    assert (told["pool"], told["jobs"]) == (POOL, 1)
    assert await stage.reasons(newer) == ["submitted"], "nothing happened to it"
    old.claims.stop()
    child = stage.child(versions={"noop": 3})
    held = await child.take(within=UNKNOWN_TYPE_MS / 1000 + 5)
    assert (held.job.id, held.job.attempt) == (newer.id, 1)
    child.complete(held)


async def test_refused_ids_that_cannot_be_judged_stay_in_flight_for_the_sweep(stage: Stage) -> None:
    ghost = make_job()
    await ready(stage, ghost)
    with stage.failing("aggregate", errorCode=50):
        child = stage.child()
        await eventually(lambda: _in_flight(stage, ghost))
        await asyncio.sleep(0.2)
        assert await _in_flight(stage, ghost)
        (job,) = await stage.submit()
        child.claims.poke()
        held = await child.take()
        assert held.job.id == job.id
    child.complete(held)


# -- without Redis ---------------------------------------------------------------------------------------------


async def test_while_redis_is_away_jobs_come_straight_from_mongodb_in_the_same_order(
    own_stage: Stage, own_redis: RedisServer
) -> None:
    own_redis.kill()
    jobs = [
        make_job(priority=priority)
        for priority in (Priority.LOW, Priority.HIGH, Priority.MEDIUM, Priority.HIGH, Priority.LOW)
    ]
    await own_stage.state.insert(jobs)
    child = own_stage.child(slots=1)
    expected = [job.id for job in sorted(jobs, key=lambda job: job.ready_score)]
    assert await child.run_jobs(5) == expected
    for job in jobs:
        await eventually(lambda job=job: own_stage.in_state(job, "completed"))


async def test_when_redis_is_back_it_is_asked_again(own_stage: Stage, own_redis: RedisServer) -> None:
    own_redis.kill()
    child = own_stage.child(slots=1)
    job = make_job()
    await own_stage.state.insert([job])
    assert await child.run_jobs(1) == [job.id]
    await asyncio.to_thread(own_redis.start)
    ghost = make_job_id()
    await own_stage.queue.enqueue(POOL, [Entry(ghost, 1)])

    async def judged() -> bool:
        (located,) = await own_stage.queue.locate(POOL, [ghost])
        return located.place is None

    await eventually(judged, within=15, what="only Redis knows this id")


async def test_while_both_stores_are_away_the_loop_lives_and_beats(own_stage: Stage, own_redis: RedisServer) -> None:
    own_redis.kill()
    with own_stage.failing("hello", "find", "update", "aggregate", errorCode=50):
        child = own_stage.child()
        for _ in range(2):
            beat = child.board.beats().claim
            await eventually(lambda beat=beat: child.board.beats().claim > beat, within=15)


async def test_a_claim_that_is_slow_at_both_stores_beats_between_them(stage: Stage, failpoint: None) -> None:
    """Found by the chaos suite: both were away, and the supervisor took the child for one that stands still."""
    failpoints.install("worker.after_pop=sleep:2000,once;worker.after_claim=sleep:3000,once")
    (job,) = await stage.submit()
    child = stage.child()
    await eventually(lambda: _in_flight(stage, job))
    popped_at = time.monotonic()
    await eventually(lambda: stage.in_state(job, "processing"), within=15)
    assert child.feed.waiting == 0, "the claim is still under way"
    assert child.board.beats().claim > popped_at
    child.complete(await child.take(within=15))
