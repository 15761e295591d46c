"""The own-jobs audit: what MongoDB says a child owns, against what it holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from worker_stage import POOL, Child, Stage

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.states import JobState, Reason
from headrace.local.stores import RedisServer
from headrace.runtime.store.values import Settlement
from headrace.testing.eventually import eventually
from headrace.worker.audit import AuditCounts
from headrace.worker.held import Stop

NOTHING = AuditCounts()


async def claimed_late(stage: Stage, child: Child, token: str = "late", **fields: Any) -> Any:
    """A job that the child owns in MongoDB and does not know of: its claim was applied after the child gave up."""
    (job,) = await stage.submit(**fields)
    await stage.queue.claim(POOL, token=token, count=1)
    (own,) = await stage.state.claim([job.id], token=token, owner=child.incarnation, types=["noop"])
    return own


async def test_a1_a_late_claim_is_released_when_it_is_seen_twice(stage: Stage) -> None:
    child = stage.child(start=False)
    job = await claimed_late(stage, child)
    assert await child.audit.run_once() == NOTHING
    assert (await child.audit.run_once()) == AuditCounts(released=1)
    stored = await stage.job(job)
    assert (stored.state, stored.failures, stored.crashes, stored.owner) == (JobState.QUEUED, 0, 0, None)
    assert stored.log[-1].reason is Reason.RELEASED
    assert (await stage.where(job)).place == "ready"
    assert await child.audit.run_once() == NOTHING


async def test_a1_a_claim_that_is_still_open_is_never_released(stage: Stage) -> None:
    child = stage.child(start=False)
    job = await claimed_late(stage, child, "open")
    child.held.open_tokens.add("open")
    for _ in range(4):
        assert await child.audit.run_once(final=True) == NOTHING
    assert (await stage.job(job)).state is JobState.PROCESSING
    child.held.open_tokens.discard("open")
    await child.audit.run_once()
    assert (await child.audit.run_once()).released == 1


async def test_a1_seen_twice_means_the_same_attempt(stage: Stage) -> None:
    child = stage.child(start=False)
    job = await claimed_late(stage, child)
    await child.audit.run_once()
    release = Settlement(job.id, 1, JobState.QUEUED, Reason.RELEASED)
    await stage.state.settle([release], by="somebody", owner=child.incarnation)
    await stage.state.claim([job.id], token="again", owner=child.incarnation, types=["noop"])
    assert await child.audit.run_once() == NOTHING
    assert (await child.audit.run_once()).released == 1


async def test_a1_an_earlier_attempt_that_is_held_does_not_vouch_for_a_later_one(stage: Stage) -> None:
    child = stage.child(start=False)
    held = await stage.claimed(child)
    release = Settlement(held.job.id, 1, JobState.QUEUED, Reason.RELEASED)
    await stage.state.settle([release], by="somebody", owner=child.incarnation)
    await stage.state.claim([held.job.id], token="again", owner=child.incarnation, types=["noop"])
    await child.audit.run_once()
    counts = await child.audit.run_once()
    assert (counts.released, counts.lost) == (1, 1)


async def test_before_the_end_a_claim_nobody_knows_is_released_at_first_sight(stage: Stage) -> None:
    child = stage.child(start=False)
    job = await claimed_late(stage, child)
    assert (await child.audit.run_once(final=True)).released == 1
    assert (await stage.job(job)).state is JobState.QUEUED


async def test_an_unknown_claim_whose_cancel_was_asked_for_becomes_cancelled(stage: Stage) -> None:
    child = stage.child(start=False)
    job = await claimed_late(stage, child)
    await stage.state.cancel(job.id, by="test")
    assert (await child.audit.run_once(final=True)).released == 1
    assert (await stage.job(job)).state is JobState.CANCELLED
    assert (await stage.where(job)).place is None


async def test_what_is_held_stays_whatever_phase_it_is_in(stage: Stage) -> None:
    child = stage.child(slots=3, start=False)
    await stage.claimed(child)
    running = await child.take()
    ended = await stage.claimed(child)
    assert await child.take() is ended
    child.complete(ended)  # nobody settles: it stays on the way
    waiting = await stage.claimed(child)
    for _ in range(3):
        assert await child.audit.run_once() == NOTHING
    assert (running.stop, waiting.stop, ended.stop) == (None, None, None)


async def lose(stage: Stage, child: Child, job_id: str) -> None:
    release = Settlement(job_id, 1, JobState.QUEUED, Reason.RELEASED)
    await stage.state.settle([release], by="recovery", owner=child.incarnation)


async def test_a_running_job_that_is_no_longer_owned_is_stopped_the_second_time_and_writes_nothing(
    stage: Stage,
) -> None:
    child = stage.child(start=False)
    child.settle()
    await stage.claimed(child)
    held = await child.take()
    await lose(stage, child, held.job.id)
    assert await child.audit.run_once() == NOTHING
    assert held.stop is None
    assert await child.audit.run_once() == AuditCounts(lost=1)
    assert held.stop is Stop.LOST
    assert await child.audit.run_once() == NOTHING, "said once"
    child.hand_in(held)
    await eventually(lambda: len(child.held) == 0)
    assert await stage.reasons(held) == ["submitted", "claimed", "released"]


async def test_a_waiting_job_that_is_no_longer_owned_never_starts(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    held = await stage.claimed(child)
    await lose(stage, child, held.job.id)
    await child.audit.run_once()
    assert (await child.audit.run_once()).lost == 1
    await eventually(lambda: len(child.held) == 0)
    assert child.feed.take(0) is None
    assert child.board.counters() == (0, 0, 1)
    assert (await stage.job(held)).state is JobState.QUEUED


async def test_a_cancel_stops_a_running_job_and_ends_a_waiting_one(stage: Stage) -> None:
    child = stage.child(start=False)
    child.settle()
    await stage.claimed(child)
    running = await child.take()
    waiting = await stage.claimed(child)
    for held in (running, waiting):
        await stage.state.cancel(held.job.id, by="test")
    assert (await child.audit.run_once()).cancelled == 2
    assert running.stop is Stop.CANCEL
    stored = await eventually(lambda: stage.in_state(waiting, "cancelled"))
    assert stored.started_at is None

    async def is_out_of_redis() -> bool:
        return (await stage.where(waiting)).place is None

    await eventually(is_out_of_redis)  # after MongoDB
    assert child.feed.take(0) is None
    assert (await child.audit.run_once()).cancelled == 0, "asked once"


async def test_a_cancelled_job_between_feed_and_thread_finds_the_word_by_itself(stage: Stage) -> None:
    child = stage.child(start=False)
    held = await stage.claimed(child)
    assert child.feed.take(0) is held
    await stage.state.cancel(held.job.id, by="test")
    assert (await child.audit.run_once()).cancelled == 1
    assert not held.begin(lambda _: None)
    assert child.held.get(held.job.id) is held, "whoever took it settles it"


async def test_the_cancel_of_an_ended_job_is_left_to_its_settlement(stage: Stage) -> None:
    child = stage.child(start=False)
    await stage.claimed(child)
    held = await child.take()
    child.complete(held)
    await stage.state.cancel(held.job.id, by="test")
    assert (await child.audit.run_once()).cancelled == 0
    child.settle()
    await eventually(lambda: stage.in_state(held, "cancelled"))


async def test_while_mongodb_is_away_nothing_is_concluded(stage: Stage) -> None:
    child = stage.child(start=False)
    await stage.claimed(child)
    held = await child.take()
    with stage.failing("find", errorCode=50):
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await child.audit.run_once()
    assert await child.audit.run_once() == NOTHING
    assert held.stop is None


async def test_redis_being_away_keeps_nobody_from_the_rest_of_the_pass(
    own_stage: Stage, own_redis: RedisServer
) -> None:
    child = own_stage.child(start=False)
    late = await claimed_late(own_stage, child)
    cancelled_late = await claimed_late(own_stage, child, "late2")
    await own_stage.state.cancel(cancelled_late.id, by="test")
    await own_stage.claimed(child)
    held = await child.take()
    await own_stage.state.cancel(held.job.id, by="test")
    own_redis.kill()
    assert await child.audit.run_once(final=True) == AuditCounts(released=2, cancelled=1)
    assert (await own_stage.job(late)).state is JobState.QUEUED
    assert held.stop is Stop.CANCEL


async def test_two_passes_at_once_do_no_harm(stage: Stage) -> None:
    """A control message starts one beside the periodic one."""
    child = stage.child(start=False)
    jobs = [await claimed_late(stage, child, f"late{number}") for number in range(5)]
    await child.audit.run_once()
    counts = await asyncio.gather(*(child.audit.run_once() for _ in range(4)))
    assert sum(count.released for count in counts) >= 5
    for job in jobs:
        assert await stage.reasons(job) == ["submitted", "claimed", "released"]
