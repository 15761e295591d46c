"""A job of high priority goes before every other that waits, whenever it came."""

from __future__ import annotations

import itertools

import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually
from headrace.testing.executors import TEST_POOL

from .system import System
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_what_waits_is_taken_by_priority_and_then_by_age(system: System, client: Client, jobs: Jobs) -> None:
    # One slot in the whole system: then the order of starts is the order of claims.
    system.services["worker"][1].stop()
    await client.resize_pool(TEST_POOL, min_slots=1, max_slots=1)
    await client.pause_pool(TEST_POOL, reason="to let them gather")
    try:
        wanted: dict[str, list[str]] = {"high": [], "medium": [], "low": []}
        for _, priority in itertools.product(range(5), ("low", "medium", "high")):
            wanted[priority] += await jobs.add(client, 1, seconds=0.05, priority=priority)

        async def gathered() -> bool:
            pool = await client.pool(TEST_POOL)
            assert (pool.paused, pool.waiting.high, pool.waiting.medium, pool.waiting.low) == (True, 5, 5, 5)
            assert pool.slots.total == 1, pool.slots
            return True

        await eventually(gathered, within=60, every=0.2, what="they wait for the one slot")
        assert jobs.phases() == {}, "nothing starts while the pool is paused"
        await client.resume_pool(TEST_POOL)
        await jobs.all_ended()
    finally:
        await client.resume_pool(TEST_POOL)
        await client.resize_pool(TEST_POOL, min_slots=None, max_slots=None)
    started = [job_id for job_id, _, phase in jobs.phases() if phase == "start"]
    assert started == wanted["high"] + wanted["medium"] + wanted["low"]


async def test_a_high_job_that_comes_last_passes_a_long_queue(client: Client, jobs: Jobs) -> None:
    low = await jobs.add(client, 200, seconds=0.3, priority="low")
    await jobs.until_running(low)
    (high,) = await jobs.add(client, 1, priority="high")

    def started() -> bool:
        return jobs.starts(high) == 1

    await eventually(started, within=60, every=0.1)
    behind = sum(1 for document in jobs.documents(low).values() if document["state"] == "queued")
    assert behind > 50, f"it waited behind {200 - behind} of 200"
    await jobs.all_ended()
