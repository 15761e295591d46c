"""Each service is replaced under load, one container after another: callers go on, nothing is lost or run twice."""

from __future__ import annotations

import asyncio

import pytest

from .load import stored, under_load
from .system import System
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


@pytest.mark.parametrize("service", ["recovery", "worker", "scheduler", "monitor"])
async def test_a_service_is_replaced_under_load(system: System, jobs: Jobs, service: str) -> None:
    async with under_load(system, jobs) as load:
        for place in range(len(system.services[service])):
            old, new = system.services[service][place], system.make(service)
            await asyncio.to_thread(new.start)
            system.services[service].append(new)
            await asyncio.to_thread(new.until_ready)
            await load.more(5)
            assert await asyncio.to_thread(old.stop) == 0, old.logs()[-3000:]
            system.services[service].remove(new)
            system.services[service][place] = new
            await asyncio.to_thread(old.remove)
            await load.more(5)
    documents = await jobs.all_ended()
    assert stored(system, jobs) == set(jobs.ids), "one job for each key, however often it was sent"
    reasons = jobs.reasons()
    assert set(reasons) <= {"submitted", "claimed", "released", "completed"}, reasons
    for job_id, document in documents.items():
        assert (document["failures"], document["crashes"]) == (0, 0)
        assert jobs.starts(job_id) == 1, "a graceful stop alone starts nothing twice"
