"""A worker that stands still for longer than its lease and wakes up: its jobs are others' by then, and stay so."""

from __future__ import annotations

import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually

from .system import System
from .truth import Jobs, last_owner

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_what_a_paused_worker_ran_runs_elsewhere_and_its_late_ends_change_nothing(
    system: System, client: Client, jobs: Jobs
) -> None:
    victim, other = system.services["worker"]
    await jobs.add(client, 40, seconds=3)
    await jobs.until_running(jobs.ids, on=victim)
    victim.container.pause()
    before = await jobs.all_ended()
    taken_away = [job_id for job_id, document in before.items() if document["attempt"] > 1]
    assert taken_away
    assert jobs.reasons()["host_lost"] >= len(taken_away)
    assert {last_owner(before[job_id]) for job_id in taken_away} <= system.children(other)

    victim.container.unpause()
    victim.until_ready()
    await jobs.add(client, 20, seconds=0.2)  # long enough for what woke up to write whatever it would
    await jobs.all_ended()
    assert jobs.documents(before) == before, "an attempt that was taken away writes nothing"
    # Guarded by the attempt, effects are safe; without the guard, one that was taken away may still have its own.
    for job_id in before:
        ends = [attempt for job, attempt, phase in jobs.phases() if (job, phase) == (job_id, "end")]
        assert max(ends) == before[job_id]["attempt"]


async def test_a_worker_that_woke_up_takes_jobs_again(system: System, client: Client, jobs: Jobs) -> None:
    victim, other = system.services["worker"]
    victim.container.pause()
    gone = system.children(victim)

    def written_off() -> bool:
        with system.database() as database:
            assert not list(database.workers.find({"_id": {"$in": list(gone)}, "dead_at": None}, {"_id": 1}))
        return True

    await eventually(written_off, within=90, every=0.5, what="recovery takes it for dead")
    victim.container.unpause()
    other.stop()
    await jobs.add(client, 5)
    documents = await jobs.all_ended()
    owners = {document["log"][1]["owner"] for document in documents.values()}
    assert owners <= system.children(victim) - gone, "as new incarnations: what was declared dead stays dead"
