"""B4: jobs are claimed ahead as far as they run in time, and what waits behind a long one goes back, once."""

from __future__ import annotations

import asyncio
import time

import pytest
from worker_stage import Child, Stage

from headrace.contracts.job import Job
from headrace.testing.eventually import eventually
from headrace.worker import claim_loop
from headrace.worker.budget import KNOWN_RUNS


def quick(child: Child, seconds: float = 0.001) -> None:
    """Let the child believe that its jobs are short."""
    for _ in range(60):
        child.run_times.add(seconds)


async def test_b4_short_jobs_are_claimed_ahead_within_the_horizon(stage: Stage) -> None:
    await stage.submit(40)
    child = stage.child(slots=1, horizon_seconds=0.02, start=False)
    quick(child)
    child.claim()
    held = await child.take()
    await eventually(lambda: child.feed.waiting >= 19)
    assert child.feed.waiting <= 20
    child.complete(held)


async def test_i8_of_jobs_longer_than_the_horizon_the_next_is_claimed_just_before_a_slot_is_free(stage: Stage) -> None:
    """Twenty jobs of 0.4 s wait; nothing is claimed earlier than the horizon before its time, and then it is."""
    await stage.submit(20)
    child = stage.child(slots=1, horizon_seconds=0.15, start=False)
    for _ in range(KNOWN_RUNS):
        child.run_times.add(0.4)
    child.claim()
    held = await child.take()
    for _ in range(3):
        assert held.started_at is not None
        await eventually(lambda: child.feed.waiting == 1, every=0.005, what="the next, claimed ahead")
        early = held.started_at + 0.4 - time.monotonic()
        assert early <= 0.16, "claimed no earlier than the horizon before the slot is free"
        await asyncio.sleep(max(0.0, early))
        assert child.feed.waiting == 1, "one for the one slot"
        child.complete(held)
        held = await child.take()


async def test_b4_jobs_behind_a_long_one_are_handed_back_in_time_and_not_taken_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_loop, "POLL_SECONDS", 30.0)
    jobs = await stage.submit(8)
    child = stage.child(slots=1, horizon_seconds=0.02, start=False)
    quick(child)
    child.claim()
    held = await child.take()
    await eventually(lambda: child.feed.waiting == 7)
    waiting = [job for job in jobs if job.id != held.job.id]
    # 5 x horizon and at least 200 ms; the rest of the bound is this machine's.
    await eventually(lambda: _all_ready(stage, waiting), within=2.0)
    for job in waiting:
        stored = await stage.job(job)
        assert (stored.failures, stored.crashes, stored.started_at) == (0, 0, None)
    # Somebody else's turn: this child claims no more than it can start.
    for _ in range(3):
        child.claims.poke()
        await asyncio.sleep(0.05)
    assert [(await stage.job(job)).attempt for job in waiting] == [1] * 7
    child.complete(held)
    assert set(await child.run_jobs(7)) == {job.id for job in waiting}


async def _all_ready(stage: Stage, jobs: list[Job]) -> bool:
    return all([(await stage.where(job)).place == "ready" for job in jobs])


# -- only some of the slots are blocked ------------------------------------------------------------------------


async def test_b4_slots_that_are_blocked_count_for_nothing_so_that_nothing_is_handed_back_again_and_again(
    stage: Stage,
) -> None:
    """Forty slots, 39 of them behind jobs that do not end, and one that runs a job in 5 ms: 150 jobs go through it."""
    child = stage.child(slots=40, horizon_seconds=0.02, start=False)
    await stage.submit(39)
    child.claim()
    for _ in range(39):
        (await child.take()).started_at = time.monotonic() - 60
    quick(child, 0.005)
    jobs = await stage.submit(150)
    child.claims.poke()
    for _ in jobs:
        held = await child.take()
        await asyncio.sleep(0.005)
        child.complete(held)
        child.run_times.add(0.005)
    for job in jobs:
        await eventually(lambda job=job: stage.in_state(job, "completed"))
    handed_back = [job.id for job in jobs if (await stage.job(job)).attempt > 1]
    assert handed_back == []


async def test_b4_what_went_back_once_is_not_claimed_ahead_again_before_as_many_jobs_have_ended(stage: Stage) -> None:
    """Jobs were short and are long now: the child learns that from one hand-back, not from one after each job."""
    jobs = await stage.submit(30)
    child = stage.child(slots=1, horizon_seconds=0.02, start=False)
    quick(child)
    child.claim()
    for _ in range(10):
        held = await child.take()
        await asyncio.sleep(0.12)
        child.complete(held)
        child.run_times.add(0.12)
    for job in jobs:
        assert (await stage.reasons(job)).count("released") <= 1
