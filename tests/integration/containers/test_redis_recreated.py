"""Redis is a cache: its container is thrown away and made anew, empty, and no job notices but by waiting."""

from __future__ import annotations

import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL

from .system import System, redis_node
from .truth import Jobs, first_claim

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_nothing_is_lost_or_run_twice_when_redis_is_a_new_one(system: System, client: Client, jobs: Jobs) -> None:
    running = await jobs.add(client, 16, seconds=4)
    started = await jobs.until_running(running, 8)
    await jobs.add(client, 60, seconds=0.1)
    later = await jobs.add(client, 10, seconds=0.1, delay_seconds=8)
    system.redis.remove()
    meanwhile = await jobs.add(client, 5, seconds=0.1)  # accepted while there is no Redis at all
    system.redis = redis_node([system.edge, system.redis_side]).start()
    documents = await jobs.all_ended()

    # What was claimed and had not started may have been handed back, without cost.
    assert set(jobs.reasons()) <= {"submitted", "claimed", "released", "completed"}, jobs.reasons()
    assert {jobs.starts(job_id) for job_id in documents} == {1}
    assert {documents[job_id]["attempt"] for job_id in started} == {1}, "the loss of Redis ends no run"
    for job_id in later:
        document = documents[job_id]
        assert first_claim(document) >= document["run_at"], "a job for later still waits for its moment"
    assert all(documents[job_id]["state"] == "completed" for job_id in meanwhile)

    async def agree() -> bool:
        pool = await client.pool(TEST_POOL)
        assert (pool.in_flight, pool.delayed, sum(pool.waiting.model_dump().values())) == (0, 0, 0)
        return True

    await eventually(agree, within=60, every=0.5, what="the new Redis agrees with MongoDB")
    job = await client.submit(**jobs.sleep())
    jobs.ids.append(job.id)
    assert (await client.wait(job.id, timeout=60)).indexed
    await jobs.all_ended()
