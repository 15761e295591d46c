"""A worker's container that is killed loses nothing: what it ran, runs again elsewhere; nothing else does."""

from __future__ import annotations

from collections import Counter

import pytest

from headrace.client import Client

from .system import System
from .truth import Jobs, last_owner

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_jobs_of_a_killed_worker_end_at_another_one(system: System, client: Client, jobs: Jobs) -> None:
    victim, other = system.services["worker"]
    await jobs.add(client, 40, seconds=2)
    struck = await jobs.until_running(jobs.ids, on=victim)
    dead = system.children(victim)
    victim.kill()
    documents = await jobs.all_ended()

    assert victim.status == "exited"
    taken_away = []
    for job_id, document in documents.items():
        reasons = Counter(entry["reason"] for entry in document["log"])
        # What it had claimed and not started costs nothing either, whoever hands it back.
        assert set(reasons) <= {"submitted", "claimed", "host_lost", "released", "completed"}, reasons
        assert reasons["host_lost"] <= 1
        assert (document["attempt"], document["failures"]) == (1 + reasons["host_lost"] + reasons["released"], 0)
        if reasons["host_lost"]:
            taken_away.append(job_id)
            lost = next(entry for entry in document["log"] if entry["reason"] == "host_lost")
            assert document["log"][lost["seq"] - 1]["owner"] in dead
            assert last_owner(document) in system.children(other)
    # One that ended in the instant before the kill has its one attempt.
    assert {job_id for job_id in struck if documents[job_id]["attempt"] > 1} <= set(taken_away)
    assert taken_away


async def test_a_worker_that_comes_back_takes_jobs_again(system: System, client: Client, jobs: Jobs) -> None:
    victim, other = system.services["worker"]
    victim.kill()
    other.stop()
    await jobs.add(client, 5)
    victim.container.start()
    victim.until_ready()
    documents = await jobs.all_ended()
    assert {last_owner(document) for document in documents.values()} <= system.children(victim)
