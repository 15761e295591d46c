"""A job's life: accepted, stored, indexed, claimed, run, settled; told the same by every side that can be asked."""

from __future__ import annotations

import aiohttp
import pytest

from headrace.client import Client
from headrace.testing.eventually import eventually

from .system import TOKEN, System
from .truth import Jobs, first_claim

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_a_job_is_accepted_run_once_and_kept_with_its_result(system: System, client: Client, jobs: Jobs) -> None:
    job = await client.submit(**jobs.sleep(0.3, priority="high"))
    jobs.ids.append(job.id)
    assert (job.state, job.attempt, job.priority) == ("queued", 0, "high")
    told = [event.name async for event in client.follow(job.id)]
    assert told[0] == "job.snapshot"
    assert told[-1] == "job.completed"

    documents = await jobs.all_ended()
    job = await client.get(job.id)
    assert (job.state, job.attempt, job.failures, job.crashes, job.error) == ("completed", 1, 0, 0, None)
    assert job.result == jobs.tag
    moments = [job.created_at, job.claimed_at, job.started_at, job.finished_at]
    assert None not in moments
    assert moments == sorted(moments)  # type: ignore[type-var]
    steps = (await client.history(job.id)).transitions
    assert [(step.from_, step.to, step.reason) for step in steps] == [
        (None, "queued", "submitted"), ("queued", "processing", "claimed"), ("processing", "completed", "completed"),
    ]  # fmt: skip
    assert [entry["to"] for entry in documents[job.id]["log"]] == [step.to for step in steps]
    assert jobs.phases() == {(job.id, 1, "start"): 1, (job.id, 1, "end"): 1}


async def test_steps_are_told_as_progress_and_kept_as_checkpoints(client: Client) -> None:
    job = await client.submit("test.steps", {"steps": 4, "seconds": 0.05})
    job = await client.wait(job.id, timeout=60)
    assert (job.state, job.result) == ("completed", 4)
    assert job.progress is not None
    assert (job.progress.fraction, job.progress.message) == (1.0, "4 of 4 steps")
    assert job.checkpoint_at is not None


async def test_a_job_for_later_waits_for_its_moment(client: Client, jobs: Jobs) -> None:
    (job_id,) = await jobs.add(client, 1, delay_seconds=2)
    (document,) = (await jobs.all_ended()).values()
    assert (first_claim(document) - document["created_at"]).total_seconds() >= 2
    assert (await client.get(job_id)).attempt == 1


async def test_hundred_jobs_are_seen_by_the_monitor_when_they_are_over(
    system: System, client: Client, jobs: Jobs
) -> None:
    await jobs.add(client, 100, seconds=0.01)
    await jobs.all_ended()
    reasons = jobs.reasons()
    assert (reasons["submitted"], reasons["completed"]) == (100, 100)
    assert set(reasons) <= {"submitted", "claimed", "released", "completed"}, reasons
    url = system.services["monitor"][0].url + "/v1/overview"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Authorization": f"Bearer {TOKEN}"}) as answer,
    ):
        assert answer.status == 200, await answer.text()

    def nothing_left() -> bool:
        with system.database() as database:
            return not list(database.jobs.find({"state": {"$in": ["queued", "processing"]}}))

    await eventually(nothing_left, within=60, every=0.2)
