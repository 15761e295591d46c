"""A worker that is cut off from MongoDB alone: its jobs are handed back; when it returns it writes nothing of them."""

from __future__ import annotations

import pytest

from headrace.client import Client

from .system import System
from .truth import Jobs, last_owner

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_jobs_of_a_worker_without_mongodb_end_elsewhere_once(system: System, client: Client, jobs: Jobs) -> None:
    victim, other = system.services["worker"]
    await jobs.add(client, 40, seconds=2)
    await jobs.until_running(jobs.ids, on=victim)
    victim.cut(system.mongo_side)
    documents = await jobs.all_ended()
    taken_away = [job_id for job_id, document in documents.items() if document["attempt"] > 1]
    assert taken_away
    assert {last_owner(documents[job_id]) for job_id in taken_away} <= system.children(other)
    assert not victim.is_ready()

    victim.join(system.mongo_side)
    victim.until_ready(within=120)
    await jobs.add(client, 20, seconds=0.2)  # long enough for what came back to write whatever it would
    await jobs.all_ended()
    assert jobs.documents(documents) == documents, "an attempt that was taken away writes nothing"


async def test_a_cut_that_is_shorter_than_the_lease_costs_no_attempt(
    system: System, client: Client, jobs: Jobs
) -> None:
    victim, _ = system.services["worker"]
    await jobs.add(client, 16, seconds=1)
    running = await jobs.until_running(jobs.ids, on=victim)
    victim.cut(system.mongo_side)
    victim.join(system.mongo_side)
    documents = await jobs.all_ended()
    for job_id in running:
        assert documents[job_id]["attempt"] == 1
