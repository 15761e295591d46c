"""Hazard 21: Redis at `maxmemory` with `noeviction`. Scheduler and recovery are the real ones, in this process."""

from __future__ import annotations

import asyncio

from aiohttp import ClientSession
from hazard_parts import POOL, open_stores, scheduler_here
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from headrace.contracts.config import JobConfig
from headrace.contracts.states import JobState, Reason
from headrace.local.stores import RedisServer
from headrace.recovery.metrics import RecoveryMetrics
from headrace.recovery.parts import Parts, open_parts
from headrace.recovery.service import JobRecoveryService
from headrace.runtime.process.ids import new_token
from headrace.runtime.store.values import Settlement
from headrace.testing.eventually import eventually

OWNER = "w-drains"
BODY = {"type": "any", "payload": {"x": 1}}


async def run_one(stores: Parts) -> str | None:
    """What a worker does: pop, claim, complete, settle."""
    token = f"{OWNER}.{new_token()}"
    claim = await stores.queue.claim(POOL, token=token, count=1)
    if not claim.ids:
        return None
    (job,) = await stores.jobs.claim(claim.ids, token=token, owner=OWNER, types=["any"])
    done = Settlement(job.id, job.attempt, JobState.COMPLETED, Reason.COMPLETED, result="null")
    await stores.jobs.settle([done], by=OWNER)
    await stores.queue.settle(POOL, [job.id])
    return job.id


async def test_hazard_21_a_full_redis_is_drained_and_every_submission_is_accepted(
    config: JobConfig, own_redis: RedisServer
) -> None:
    settings = config.model_copy(update={"redis_url": SecretStr(own_redis.url)})
    admin = Redis.from_url(own_redis.url)
    async with open_stores(settings) as stores, scheduler_here(settings) as url, ClientSession() as http:

        async def submit() -> tuple[int, bool, str]:
            async with http.post(f"{url}/v1/jobs", json=BODY) as response:
                view = await response.json()
                return response.status, view["indexed"], view["id"]

        before = [await submit() for _ in range(20)]
        assert {(status, indexed) for status, indexed, _ in before} == {(201, True)}
        await admin.config_set("maxmemory", 1)

        # Accepted and said to be not indexed, never a 503; also many at once, and after the breaker has opened.
        during = [*await asyncio.gather(*(submit() for _ in range(10))), *[await submit() for _ in range(10)]]
        assert {(status, indexed) for status, indexed, _ in during} == {(201, False)}

        # Draining goes on: claims, settlements, and what they free.
        drained = [await run_one(stores) for _ in range(20)]
        assert drained == [job_id for _, _, job_id in before]
        assert (await stores.queue.depths(POOL)).in_flight == 0

        # Recovery bears it, and pushes what waited as soon as there is room.
        recovery = JobRecoveryService(open_parts(settings), RecoveryMetrics(CollectorRegistry()))
        await recovery.start()
        try:
            await eventually(recovery.leadership.is_leading)
            await asyncio.sleep(1.2)
            assert sum((await stores.queue.depths(POOL)).waiting.values()) == 0
            await admin.config_set("maxmemory", 0)

            async def is_pushed() -> bool:
                return (await stores.queue.depths(POOL)).waiting["medium"] == 20

            await eventually(is_pushed, within=15)
        finally:
            await recovery.stop()
        for _ in range(20):
            assert await run_one(stores) is not None
        left = await stores.database.jobs.count_documents({"state": {"$ne": "completed"}})
        assert left == 0
    await admin.aclose()
