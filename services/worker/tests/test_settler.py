"""Settlements: MongoDB first, exactly once, whatever fails on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from worker_stage import Stage

from headrace.contracts.errors import Retry, StoreUnavailableError
from headrace.contracts.retry import RetryPolicy
from headrace.contracts.states import JobState, Reason
from headrace.local.stores import RedisServer
from headrace.runtime.process import failpoints
from headrace.runtime.store.values import Settlement
from headrace.testing.eventually import eventually
from headrace.worker import outcome, settler
from headrace.worker.held import Held, Stop

POLICY = RetryPolicy(base_seconds=0.001)


async def begun(stage: Stage, child: Any, **fields: Any) -> Held:
    await stage.claimed(child, **fields)
    held: Held = await child.take()
    return held


async def test_a_completed_job_is_over_in_mongodb_and_gone_from_redis(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await begun(stage, child)
    child.complete(held, '{"x":1}')
    await eventually(lambda: len(child.held) == 0)
    stored = await stage.job(held)
    assert (stored.state, stored.result, stored.owner) == (JobState.COMPLETED, '{"x":1}', None)
    assert stored.started_at is not None
    assert (await stage.where(held)).place is None
    assert child.board.counters() == (1, 0, 0)
    assert child.settler.backlog == 0


async def test_a_retry_waits_in_redis_until_it_is_due(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await begun(stage, child)
    held.settlement = outcome.failed(held.job, Retry("x", delay_seconds=50), policy=POLICY, jitter=1, started_ms_ago=1)
    child.hand_in(held)
    await eventually(lambda: len(child.held) == 0)
    stored = await stage.job(held)
    located = await stage.where(held)
    assert (stored.state, stored.failures) == (JobState.QUEUED, 1)
    assert (located.place, located.score) == ("delayed", stored.run_at_ms)
    assert child.board.counters() == (0, 1, 0)


async def test_a_job_that_never_started_goes_back_without_cost(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await stage.claimed(child)
    assert child.feed.withdraw() == [held]
    child.settler.submit(held)
    await eventually(lambda: len(child.held) == 0)
    stored = await stage.job(held)
    assert (stored.state, stored.failures, stored.crashes, stored.started_at) == (JobState.QUEUED, 0, 0, None)
    assert await stage.reasons(held) == ["submitted", "claimed", "released"]
    assert (await stage.where(held)).place == "ready"


@pytest.mark.parametrize("times", [1, 3])
async def test_mongodb_failing_for_a_while_settles_every_job_exactly_once(stage: Stage, times: int) -> None:
    child = stage.child(slots=8, start=False)
    held = [await begun(stage, child) for _ in range(8)]
    with stage.failing("update", times=times, closeConnection=True):
        child.settle()
        for item in held:
            child.complete(item)
        await eventually(lambda: len(child.held) == 0, within=20)
    for item in held:
        assert await stage.reasons(item) == ["submitted", "claimed", "completed"]
    assert child.board.counters() == (8, 0, 0)


async def test_a_settlement_whose_answer_is_lost_is_recognised_as_our_own(stage: Stage) -> None:
    """The write is applied, the majority wait fails: the same again must not count as fenced."""
    child = stage.child(start=False)
    held = await begun(stage, child)
    held.settlement = outcome.failed(held.job, RuntimeError("x"), policy=POLICY, jitter=0, started_ms_ago=1)
    error = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
    with stage.failing("update", times=2, **error):
        child.settle()
        child.hand_in(held)
        await eventually(lambda: len(child.held) == 0, within=20)
    stored = await stage.job(held)
    assert (stored.failures, stored.state) == (1, JobState.QUEUED)
    assert await stage.reasons(held) == ["submitted", "claimed", "retry"]
    assert child.board.counters() == (0, 1, 0)
    assert (await stage.where(held)).place in {"ready", "delayed"}


async def test_one_item_that_cannot_be_written_does_not_hold_up_its_neighbours(stage: Stage) -> None:
    child = stage.child(slots=9, start=False)
    held = [await begun(stage, child) for _ in range(9)]
    for number, item in enumerate(held):
        child.complete(item, '"\ud800"' if number == 4 else "1")  # no BSON string can hold that
    child.settle()
    await eventually(lambda: len(child.held) == 0)
    states = [(await stage.job(item)).state for item in held]
    assert states == [JobState.PROCESSING if number == 4 else JobState.COMPLETED for number in range(9)]
    assert child.board.counters() == (8, 0, 1)
    # It is owned and not held: the audit hands it back.
    await child.audit.run_once()
    assert (await child.audit.run_once()).released == 1
    assert (await stage.job(held[4])).state is JobState.QUEUED


async def test_a_job_taken_away_is_fenced_and_counted_and_nothing_of_it_is_written(stage: Stage) -> None:
    child = stage.child(start=False)
    held = await begun(stage, child)
    (release,) = [Settlement(held.job.id, 1, JobState.QUEUED, Reason.RELEASED)]
    await stage.state.settle([release], by="somebody", owner=child.incarnation)
    (again,) = await stage.state.claim([held.job.id], token="other", owner="w-other", types=["noop"])
    child.settle()
    child.complete(held)
    await eventually(lambda: len(child.held) == 0)
    stored = await stage.job(held)
    assert (stored.state, stored.owner, stored.attempt, stored.result) == ("processing", "w-other", again.attempt, None)
    assert child.board.counters() == (0, 0, 1)


async def test_a_job_told_that_it_is_lost_writes_nothing(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await begun(stage, child)
    held.ask_to_stop(Stop.LOST)
    child.hand_in(held)
    await eventually(lambda: len(child.held) == 0)
    assert await stage.reasons(held) == ["submitted", "claimed"]
    assert child.board.counters() == (0, 0, 1)


async def test_an_accepted_cancel_wins_over_the_result(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await begun(stage, child)
    await stage.state.cancel(held.job.id, by="test")
    child.complete(held)
    await eventually(lambda: len(child.held) == 0)
    stored = await stage.job(held)
    assert (stored.state, stored.result) == (JobState.CANCELLED, None)
    assert (await stage.where(held)).place is None


async def test_redis_being_away_at_index_time_costs_nothing(own_stage: Stage, own_redis: RedisServer) -> None:
    child = own_stage.child(start=False)
    child.settle()
    done, retried = await begun(own_stage, child), await begun(own_stage, child)
    retried.settlement = outcome.failed(retried.job, RuntimeError("x"), policy=POLICY, jitter=0, started_ms_ago=1)
    own_redis.kill()
    child.complete(done)
    child.hand_in(retried)
    await eventually(lambda: len(child.held) == 0)
    assert (await own_stage.job(done)).state is JobState.COMPLETED
    assert (await own_stage.job(retried)).state is JobState.QUEUED
    assert child.board.counters() == (1, 1, 0)


async def test_the_settler_survives_what_nobody_expected(stage: Stage, failpoint: None) -> None:
    child = stage.child(start=False)
    child.settle()
    first, second = await begun(stage, child), await begun(stage, child)
    failpoints.install("worker.before_settle=error:RuntimeError,once")
    child.complete(first)
    await eventually(lambda: len(child.held) == 1)
    child.complete(second)
    await eventually(lambda: len(child.held) == 0)
    assert (await stage.job(second)).state is JobState.COMPLETED
    await child.audit.run_once()
    await child.audit.run_once()
    assert (await stage.job(first)).state is JobState.QUEUED, "owned and not held: handed back"


async def test_an_index_that_fails_in_an_unexpected_way_does_not_stop_the_settler(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await begun(stage, child)
    await stage.redis.delete(stage.keys.holder)
    await stage.redis.set(stage.keys.holder, "not a hash")
    child.complete(held)
    await eventually(lambda: len(child.held) == 0)
    assert (await stage.job(held)).state is JobState.COMPLETED


async def test_many_threads_hand_in_and_nothing_is_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler, "BATCH", 7)
    child = stage.child(slots=60, start=False)
    jobs = await stage.submit(60)
    own = await stage.state.claim([job.id for job in jobs], token="t", owner=child.incarnation, types=["noop"])
    held = [Held(job, "t") for job in own]
    child.held.add(held)
    child.settle()

    def work(items: list[Held]) -> None:
        for item in items:
            item.begin(lambda _: None)
            item.settlement = outcome.completed(item.job, None, started_ms_ago=0)
            item.end()
            child.settler.submit(item)

    await asyncio.gather(*(asyncio.to_thread(work, held[part::6]) for part in range(6)))
    await eventually(lambda: len(child.held) == 0)
    assert child.board.counters() == (60, 0, 0)
    assert child.settler.backlog == 0


async def test_the_backlog_counts_what_is_under_way(stage: Stage) -> None:
    child = stage.child(start=False)
    held = await begun(stage, child)
    child.complete(held)
    assert child.settler.backlog == 1
    with stage.failing("update", closeConnection=True):
        child.settle()
        await asyncio.sleep(0.2)
        assert child.settler.backlog == 1
    await eventually(lambda: child.settler.backlog == 0)


async def test_stopping_settles_what_was_handed_in_before(stage: Stage) -> None:
    child = stage.child(start=False)
    held = await begun(stage, child)
    child.complete(held)
    child.settler.stop()
    await child.settler.run()
    assert (await stage.job(held)).state is JobState.COMPLETED


async def test_a_waiting_job_told_to_cancel_is_settled_without_having_run(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await stage.claimed(child)
    await stage.state.cancel(held.job.id, by="test")
    held.ask_to_stop(Stop.CANCEL)
    assert child.feed.discard(held)
    child.settler.submit_stopped(held)
    await eventually(lambda: len(child.held) == 0)
    stored = await stage.job(held)
    assert (stored.state, stored.started_at) == (JobState.CANCELLED, None)


async def test_a_store_that_is_away_is_never_taken_for_an_answer(stage: Stage) -> None:
    child = stage.child(start=False)
    held = await begun(stage, child)
    with stage.failing("update", errorCode=50), pytest.raises(StoreUnavailableError):
        await stage.state.settle([outcome.completed(held.job, None, started_ms_ago=0)], by=child.incarnation)
