"""Cancel wins once it was accepted, and loses openly once the job is over."""

from __future__ import annotations

import asyncio

import pytest

from headrace.client import Client
from headrace.contracts.errors import AlreadyTerminalError
from headrace.testing.eventually import eventually

from .system import System
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_a_job_that_waits_is_cancelled_at_once_and_never_starts(client: Client, jobs: Jobs) -> None:
    (job_id,) = await jobs.add(client, 1, delay_seconds=2)
    assert (await client.cancel(job_id)).state == "cancelled"
    assert (await client.cancel(job_id)).state == "cancelled", "cancelling again says the same"
    (other,) = await jobs.add(client, 1, delay_seconds=2.5)  # due after the first one would have been
    assert (await client.wait(other, timeout=120)).state == "completed"
    assert jobs.starts(job_id) == 0
    assert [entry["to"] for entry in jobs.documents()[job_id]["log"]] == ["queued", "cancelled"]


async def test_a_job_that_runs_is_ended_and_does_not_complete(client: Client, jobs: Jobs) -> None:
    ids = await jobs.add(client, 2, seconds=60)
    await jobs.until_running(ids, 2)
    for job_id in ids:
        job = await client.cancel(job_id)
        assert job.state == "cancelled" or job.cancel_requested_at is not None
    documents = await jobs.all_ended(state="cancelled")
    for job_id, document in documents.items():
        assert [entry["to"] for entry in document["log"]] == ["queued", "processing", "cancelled"]
        assert document.get("result") is None
        assert jobs.phases()[job_id, 1, "end"] == 0


async def test_a_job_that_is_over_says_so(client: Client, jobs: Jobs) -> None:
    (job_id,) = await jobs.add(client, 1)
    before = (await jobs.all_ended())[job_id]
    with pytest.raises(AlreadyTerminalError):
        await client.cancel(job_id)
    assert jobs.documents()[job_id] == before


async def test_of_a_cancel_and_an_end_that_race_exactly_one_wins(system: System, client: Client, jobs: Jobs) -> None:
    ids = await jobs.add(client, 60, seconds=0.02)

    async def cancel(job_id: str) -> bool:
        try:
            await client.cancel(job_id)
        except AlreadyTerminalError:
            return False
        return True

    won = dict(zip(ids, await asyncio.gather(*(cancel(job_id) for job_id in ids)), strict=True))

    def over() -> bool:
        found = {job_id: document["state"] for job_id, document in jobs.documents().items()}
        assert {job_id: state == "cancelled" for job_id, state in found.items() if state != "completed"} == {
            job_id: True for job_id, cancelled in won.items() if cancelled
        }, found
        return all(found[job_id] == ("cancelled" if won[job_id] else "completed") for job_id in ids)

    await eventually(over, within=60, every=0.3, what="each ends as its answer said")
    assert any(won.values())
    for document in jobs.documents().values():
        assert sum(entry["to"] in {"completed", "cancelled", "failed"} for entry in document["log"]) == 1
