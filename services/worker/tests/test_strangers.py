"""A pool whose head is full of jobs that this child cannot run (B13)."""

from __future__ import annotations

import time

import pytest
from worker_stage import Stage

from headrace.contracts.job import Priority


@pytest.mark.parametrize("count", [100, 1200])
async def test_jobs_behind_many_strangers_are_reached(stage: Stage, count: int) -> None:
    strangers = await stage.submit(count, type="strange", priority=Priority.HIGH)
    (known,) = await stage.submit(1)
    child = stage.child(slots=1)
    began = time.monotonic()
    held = await child.take(within=20)
    assert held.job.id == known.id
    assert time.monotonic() - began < 10
    child.complete(held)
    for stranger in (strangers[0], strangers[-1]):
        job = await stage.job(stranger)
        assert (job.attempt, len(job.log)) == (0, 1), "a stranger is never touched"


async def test_what_can_be_run_goes_back_to_its_place(stage: Stage) -> None:
    await stage.submit(20, type="strange", priority=Priority.HIGH)
    known = await stage.submit(30)
    child = stage.child(slots=1)
    order = []
    for _ in range(30):
        held = await child.take(within=20)
        order.append(held.job.id)
        child.complete(held)
    assert order == [job.id for job in known]
