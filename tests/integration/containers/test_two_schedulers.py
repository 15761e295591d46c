"""Two schedulers are one: what one accepted the other knows, and a key makes one job wherever it is sent."""

from __future__ import annotations

import asyncio

import pytest

from headrace.client import Client
from headrace.contracts.errors import DuplicateJobError, IdempotencyInFlightError

from .load import stored, under_load
from .system import System
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_a_key_that_is_sent_to_both_at_once_makes_one_job(system: System, jobs: Jobs) -> None:
    async def submit(client: Client, key: str) -> str:
        while True:
            try:
                return (await client.submit(**jobs.sleep(), idempotency_key=key)).id
            except IdempotencyInFlightError:  # the other one is about to store it
                await asyncio.sleep(0.05)

    async with system.client(0) as one, system.client(1) as two:
        for number in range(20):
            key = f"{jobs.tag}-{number}"
            found = await asyncio.gather(*(submit(client, key) for client in (one, two) * 3))
            assert len(set(found)) == 1
            jobs.ids.append(found[0])
    with system.database() as database:
        assert database.jobs.count_documents({"tags.test": jobs.tag}) == 20
    await jobs.all_ended()


async def test_a_unique_key_is_held_against_both(system: System, jobs: Jobs) -> None:
    async with system.client(0) as one, system.client(1) as two:
        held = await one.submit(**jobs.sleep(30, unique_key=jobs.tag))
        with pytest.raises(DuplicateJobError) as refused:
            await two.submit(**jobs.sleep(unique_key=jobs.tag))
        assert refused.value.job_id == held.id
        await two.cancel(held.id)
        free = await two.wait(held.id, timeout=60)
        assert free.state == "cancelled"
        next_one = await two.submit(**jobs.sleep(unique_key=jobs.tag))
        assert (await one.wait(next_one.id, timeout=60)).state == "completed"


async def test_one_sees_and_follows_and_cancels_what_the_other_accepted(system: System, jobs: Jobs) -> None:
    async with system.client(0) as one, system.client(1) as two:
        job = await one.submit(**jobs.sleep(1))
        jobs.ids.append(job.id)
        assert (await two.get(job.id)).payload == job.payload
        told = [event.name async for event in two.follow(job.id)]
        assert told[-1] == "job.completed"
        await jobs.all_ended()
        waiting = await two.submit(**jobs.sleep(delay_seconds=600))
        assert (await one.cancel(waiting.id)).state == "cancelled"


async def test_callers_go_on_when_one_is_killed(system: System, jobs: Jobs) -> None:
    async with under_load(system, jobs) as load:
        system.services["scheduler"][0].kill()
        await load.more(30)
    assert stored(system, jobs) == set(jobs.ids), "one job for each key: what was sent again was found again"
    await jobs.all_ended()
