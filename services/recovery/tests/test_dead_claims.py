"""Hazard 6: popped and gone. What a dead child had popped waits again at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry
from recovery_stage import Stage

from headrace.contracts.states import JobState
from headrace.recovery import dead_claims
from headrace.recovery.dead_claims import DeadClaimsDuty
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.parts import open_parts
from headrace.recovery.service import JobRecoveryService
from headrace.testing.builders import make_job_id
from headrace.testing.eventually import eventually

POP = """
import asyncio, sys, time
from headrace.runtime.queue import RedisJobQueue, redis_client
async def main(url, namespace, token):
    queue = RedisJobQueue(redis_client(url, kind="command", name="child"), namespace=namespace)
    print(*(await queue.claim("default", token=token, count=1)).ids, flush=True)
    time.sleep(60)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def duty(stage: Stage) -> DeadClaimsDuty:
    return DeadClaimsDuty(stage.parts, stage.pools)


async def test_hazard_6_an_id_that_a_killed_child_had_popped_is_claimable_within_two_seconds(stage: Stage) -> None:
    await stage.complete()
    job = await stage.job()
    await stage.enqueue(job)
    await stage.worker("w-child")
    service = JobRecoveryService(open_parts(stage.parts.config), RecoveryMetrics(CollectorRegistry()))
    await service.start()
    try:
        await eventually(service.leadership.is_leading)
        arguments = [stage.parts.config.redis_url.get_secret_value(), stage.parts.config.namespace, "w-child.0123"]
        child = subprocess.Popen([sys.executable, "-c", POP, *arguments], stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            popped = (await asyncio.to_thread(child.stdout.readline)).decode().split()
        finally:
            child.kill()
            child.communicate()
        killed = time.monotonic()
        assert popped == [job.id]
        await stage.die("w-child")  # as its supervisor says at once

        async def claimable() -> bool:
            return (await stage.where(job.id)).place == "ready"

        await eventually(claimable, within=5)
        assert time.monotonic() - killed < 2
    finally:
        await service.stop()


async def test_a_holder_without_a_document_counts_as_dead(stage: Stage, duty: DeadClaimsDuty) -> None:
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=1.1, token="w-unknown.1")
    assert await duty.run_once() == {"dead_claim": 1}
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("ready", job.ready_score)


async def test_b2_what_a_live_child_popped_is_left_alone(stage: Stage, duty: DeadClaimsDuty) -> None:
    await stage.worker("w-live")
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=9, token="w-live.1")
    assert await duty.run_once() == {}
    assert (await stage.where(job.id)).token == "w-live.1"


async def test_what_was_popped_just_now_and_what_names_no_holder_are_left_alone(
    stage: Stage, duty: DeadClaimsDuty
) -> None:
    await stage.worker("w-dead")
    await stage.die("w-dead")
    jobs = [await stage.job() for _ in range(3)]
    await stage.in_flight(jobs[0].id, seconds_ago=0.2, token="w-dead.1")
    await stage.in_flight(jobs[1].id, seconds_ago=5, token="t1")
    await stage.in_flight(jobs[2].id, seconds_ago=5, token=None)
    assert await duty.run_once() == {}
    assert set((await stage.held_ids()).values()) == {"inflight"}


async def test_only_queued_jobs_are_handed_back_and_later_ones_to_their_time(
    stage: Stage, duty: DeadClaimsDuty
) -> None:
    await stage.worker("w-dead")
    await stage.die("w-dead")
    now = await stage.parts.reconcile.now()
    later = await stage.job(run_at=now.replace(year=now.year + 1))
    running = await stage.running("w-dead", claim_token="w-dead.1")
    over = await stage.job(state=JobState.COMPLETED)
    ghost = make_job_id()
    for job_id in (later.id, running.id, over.id, ghost):
        await stage.in_flight(job_id, seconds_ago=5, token="w-dead.1")
    assert await duty.run_once() == {"dead_claim": 1}
    located = await stage.where(later.id)
    assert (located.place, located.score) == ("delayed", later.run_at_ms)
    assert await stage.held_ids() == {
        later.id: "delayed", running.id: "inflight", over.id: "inflight", ghost: "inflight"
    }  # fmt: skip


async def test_what_was_claimed_again_since_the_look_is_left_alone(
    stage: Stage, duty: DeadClaimsDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await stage.job()
    await stage.in_flight(job.id, seconds_ago=5, token="w-gone.1")

    async def claim_again(_name: str) -> None:
        await stage.in_flight(job.id, seconds_ago=0, token="w-live.2")

    monkeypatch.setattr(dead_claims, "afp", claim_again)
    assert await duty.run_once() == {}
    assert (await stage.where(job.id)).token == "w-live.2"


async def test_more_than_one_page_is_looked_at(
    stage: Stage, duty: DeadClaimsDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_claims, "PAGE", 2)
    jobs = [await stage.job() for _ in range(5)]
    for n, job in enumerate(jobs):
        await stage.in_flight(job.id, seconds_ago=5, token=f"w-gone.{n}")
    assert await duty.run_once() == {"dead_claim": 5}
