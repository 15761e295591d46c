"""Kill, empty and stop the parts under it: every accepted job still ends, in a legal way, exactly once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from whole import StartWhole, Whole

from headrace.client.aio import Client
from headrace.contracts.errors import StoreUnavailableError
from headrace.testing.eventually import eventually
from headrace.testing.executors import read_effects

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def test_a_killed_child_costs_no_finished_step(whole: Whole, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    job = await whole.client.submit(
        "test.steps", {"steps": 30, "seconds": 0.1, "effects": str(effects)}, timeout_seconds=60
    )
    for kill in range(2):
        await eventually(lambda kill=kill: len(read_effects(effects)) >= 8 * (kill + 1), within=20)
        killed_at = time.monotonic()
        assert whole.kill_child("test")
        await eventually(lambda number=kill + 1: _handed_back(whole, job.id, number), within=10, every=0.01)
        # Promised: a killed child's jobs are claimable in under two seconds.
        assert time.monotonic() - killed_at < 2.0
    done = await whole.client.wait(job.id, timeout=40)
    assert (done.state, done.attempt, done.result) == ("completed", 3, 30)
    steps = [phase for _, _, _, phase in read_effects(effects)]
    assert len(steps) - 30 <= 2, "at most the step under way is done again"
    assert done.crashes == 0, "an attempt that made headway does not count as a crash"
    await whole.assert_sound(job.id)


async def _handed_back(whole: Whole, job_id: str, times: int) -> bool:
    document = await whole.document(job_id)
    return sum(1 for entry in document["log"] if entry["reason"] == "orphaned") == times


async def test_a_job_that_kills_its_worker_ends_as_a_dead_letter_and_other_children_never_notice(
    whole: Whole, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    others = whole.children("default")
    pill = await whole.client.submit("test.die", {"effects": str(effects)})
    dead = await whole.client.wait(pill.id, timeout=60)
    assert (dead.state, dead.crashes) == ("failed", 3)
    assert dead.error is not None
    assert dead.error.type == "crash_loop"
    assert len(read_effects(effects)) == 3, "started exactly as often as allowed"
    assert whole.children("default") == others
    await whole.assert_sound(pill.id)


@pytest.mark.parametrize("loss", ["flush", "restart empty", "restart with data"])
async def test_whatever_happens_to_redis_no_job_is_lost(whole: Whole, loss: str) -> None:
    running = await whole.client.submit("test.sleep", {"seconds": 3})
    await whole.until_state(running.id, "processing")
    waiting = [await whole.client.submit("test.sleep", {"seconds": 0.01}) for _ in range(40)]
    later = await whole.client.submit("noop", {}, delay_seconds=4)
    if loss == "flush":
        await whole.redis.flushall()
    else:
        await asyncio.to_thread(whole.system.redis.restart, keep_data=loss == "restart with data")
    jobs = [running, *waiting, later]
    for job in jobs:
        done = await whole.client.wait(job.id, timeout=30)
        assert (done.state, done.attempt) == ("completed", 1)
    await whole.assert_sound(*(job.id for job in jobs))
    await eventually(lambda: whole.queue.is_complete("test"), within=10)
    await whole.until_redis_agrees("test")
    await whole.until_redis_agrees("default")


async def test_while_redis_is_down_jobs_are_accepted_and_run(whole: Whole) -> None:
    await asyncio.to_thread(whole.system.redis.stop)
    jobs = [await whole.client.submit("noop", {}) for _ in range(5)]
    assert not any(job.indexed for job in jobs)
    for job in jobs:
        assert (await whole.client.wait(job.id, timeout=20)).state == "completed"
    await asyncio.to_thread(whole.system.redis.start)
    after = await whole.client.submit("noop", {})
    assert (await whole.client.wait(after.id, timeout=20)).state == "completed"
    await whole.assert_sound(after.id, *(job.id for job in jobs))
    await whole.until_redis_agrees("default")


async def test_while_mongodb_hangs_submissions_are_refused_in_time_and_running_jobs_go_on(whole: Whole) -> None:
    running = await whole.client.submit("test.sleep", {"seconds": 2})
    await whole.until_state(running.id, "processing")
    await asyncio.to_thread(whole.system.mongo.stop)
    async with Client(whole.system.urls["scheduler"], tries=1, timeout_seconds=10) as impatient:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError) as refused:
            await impatient.submit("noop", {})
        # Promised: 503 within two seconds, with a time to come back.
        assert time.monotonic() - began < 2.5
        assert refused.value.code == "store-unavailable"
        assert refused.value.retry_after_seconds is not None
    await asyncio.sleep(1)
    await asyncio.to_thread(whole.system.mongo.start)
    done = await whole.client.wait(running.id, timeout=40)
    assert (done.state, done.attempt) == ("completed", 1)
    assert (await whole.client.wait((await whole.client.submit("noop", {})).id, timeout=30)).state == "completed"
    await whole.assert_sound(running.id)


async def test_a_worker_told_to_stop_hands_back_without_cost(start: StartWhole, tmp_path: Path) -> None:
    whole = await start(JOB_SHUTDOWN_GRACE_SECONDS="2")
    effects = tmp_path / "effects"
    short = await whole.client.submit("test.sleep", {"seconds": 1, "effects": str(effects)})
    long = await whole.client.submit("test.sleep", {"seconds": 60})
    stuck = await whole.client.submit("test.block", {"seconds": 60, "slices": False})
    for job in (short, long, stuck):
        await whole.until_state(job.id, "processing")
    worker = whole.service("worker")
    worker.terminate()
    await eventually(lambda: worker.exit_code is not None, within=15)
    assert worker.exit_code == 0
    assert await whole.state(short.id) == "completed"
    for job in (long, stuck):
        document = await whole.document(job.id)
        assert (document["state"], document["failures"], document["crashes"]) == ("queued", 0, 0)
        assert document["log"][-1]["reason"] == "released"
    await whole.assert_sound(short.id, long.id, stuck.id)
