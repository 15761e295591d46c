"""MongoDB's primary steps down under load: for the seconds of an election nothing is accepted, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from headrace.client import Client
from headrace.contracts.errors import OutcomeUnknownError, StoreUnavailableError
from headrace.testing.eventually import eventually

from .system import System, primary
from .truth import Jobs

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

ELECTION_SECONDS = 10 + 5
"""MongoDB's own time-out, and what is promised on top of it."""


def step_down(system: System) -> str:
    """Have the primary step down; returns which it was."""
    with primary(system.mongos) as mongo:
        name = str(mongo.admin.command("hello")["me"])
        mongo.admin.command("replSetStepDown", 30, secondaryCatchUpPeriodSecs=10)
        return name


async def test_jobs_that_were_accepted_around_an_election_end_once(system: System, client: Client, jobs: Jobs) -> None:
    over = asyncio.Event()
    keys: dict[str, str] = {}
    accepted_at: list[float] = []

    async def submit(lane: int) -> None:
        number = 0
        while not over.is_set():
            key = f"{jobs.tag}-{lane}-{number}"
            try:
                job = await client.submit(**jobs.sleep(0.1), idempotency_key=key)
            except (StoreUnavailableError, OutcomeUnknownError):  # every try met the election: the same key again
                continue
            keys[key] = job.id
            accepted_at.append(time.monotonic())
            number += 1
            await asyncio.sleep(0.05)

    lanes = [asyncio.create_task(submit(lane)) for lane in range(4)]
    try:
        await eventually(lambda: len(keys) > 40, within=60, what="a load")
        old = await asyncio.to_thread(step_down, system)
        before = len(keys)
        await eventually(lambda: len(keys) > before + 40, within=90, what="a load after the election")
        over.set()
        await asyncio.gather(*lanes)
    finally:
        for lane in lanes:
            lane.cancel()
    with primary(system.mongos) as mongo:
        assert mongo.admin.command("hello")["me"] != old, "another member leads now"
    silence = max(after - moment for moment, after in itertools.pairwise(accepted_at))
    assert silence < ELECTION_SECONDS, f"no submission was accepted for {silence:.1f} s"

    jobs.ids = list(keys.values())
    assert len(set(jobs.ids)) == len(keys), "one job for each key"
    with system.database() as database:
        stored = {found["_id"] for found in database.jobs.find({"tags.test": jobs.tag}, {"_id": 1})}
    assert stored == set(jobs.ids), "and nothing that nobody was told of"
    await jobs.all_ended()


async def test_jobs_that_run_during_an_election_keep_their_attempt(system: System, client: Client, jobs: Jobs) -> None:
    await jobs.add(client, 12, seconds=3)
    running = await jobs.until_running(jobs.ids, 8)
    await asyncio.to_thread(step_down, system)
    documents = await jobs.all_ended()
    assert {documents[job_id]["attempt"] for job_id in running} == {1}
    # A claim whose answer was lost in the election may have been handed back, unstarted and without cost.
    assert set(jobs.reasons()) <= {"submitted", "claimed", "released", "completed"}, jobs.reasons()
    assert {jobs.starts(job_id) for job_id in jobs.ids} == {1}
