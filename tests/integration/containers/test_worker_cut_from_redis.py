"""A worker that is cut off from Redis alone ends what it runs, and takes what is next from MongoDB."""

from __future__ import annotations

import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually

from .system import System
from .truth import Jobs, last_owner

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_without_redis_a_worker_ends_its_jobs_and_claims_from_mongodb(
    system: System, client: Client, jobs: Jobs
) -> None:
    victim, other = system.services["worker"]
    other.stop()  # so that whatever ends, ends at the one that is cut off
    ids = await jobs.add(client, 8, seconds=3)
    running = await jobs.until_running(ids, on=victim)
    victim.cut(system.redis_side)
    await jobs.add(client, 10, seconds=0.1)
    documents = await jobs.all_ended()
    for job_id in running:
        assert documents[job_id]["attempt"] == 1, "the loss of Redis costs no attempt"
    assert {last_owner(document) for document in documents.values()} <= system.children(victim)
    assert not victim.is_ready()
    assert not victim.detail("redis").startswith("ok")

    victim.join(system.redis_side)
    victim.until_ready()
    await jobs.add(client, 10)
    await jobs.all_ended()


async def test_a_worker_that_came_back_leaves_no_id_behind_in_redis(system: System, client: Client, jobs: Jobs) -> None:
    victim, _ = system.services["worker"]
    await jobs.add(client, 30, seconds=0.5)
    await jobs.until_running(jobs.ids, on=victim)
    victim.cut(system.redis_side)
    await jobs.all_ended()
    victim.join(system.redis_side)
    victim.until_ready()

    async def agree() -> bool:
        pool = await client.pool("test")
        assert (pool.in_flight, pool.delayed, sum(pool.waiting.model_dump().values())) == (0, 0, 0)
        return True

    await eventually(agree, within=60, every=0.5, what="Redis has forgotten the jobs that are over")
