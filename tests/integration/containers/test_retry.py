"""A job that fails runs again, as often as it may; then it is a dead letter, which can be replayed."""

from __future__ import annotations

import pytest
from whole import assert_sound_log

from headrace.client import Client

from .system import System

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


async def test_a_job_that_fails_twice_completes_at_the_third_attempt(system: System, client: Client) -> None:
    job = await client.submit("test.fail", {"until_attempt": 2, "message": "not yet"}, max_retries=3)
    job = await client.wait(job.id, timeout=120)
    assert (job.state, job.result, job.attempt, job.failures, job.crashes) == ("completed", 3, 3, 2, 0)
    history = await client.history(job.id)
    assert [step.reason for step in history.transitions] == [
        "submitted", "claimed", "retry", "claimed", "retry", "claimed", "completed",
    ]  # fmt: skip
    assert [(error.type, error.message) for error in history.errors] == [("RuntimeError", "not yet")] * 2
    with system.database() as database:
        assert_sound_log(database.jobs.find_one({"_id": job.id}))


async def test_a_job_that_always_fails_is_a_dead_letter_after_its_retries_and_can_be_replayed(
    system: System, client: Client
) -> None:
    job = await client.submit("test.fail", {"until_attempt": 3}, max_retries=2)
    job = await client.wait(job.id, timeout=120)
    assert (job.state, job.attempt, job.failures) == ("failed", 3, 3)
    assert job.error is not None
    assert (job.error.type, job.error.message) == ("RuntimeError", "asked to fail")
    assert job.id in [dead.id async for dead in client.dead_letters(type="test.fail")]

    again = await client.replay(job.id)
    assert (again.replay_of, again.payload) == (job.id, job.payload)
    again = await client.wait(again.id, timeout=120)
    assert (again.state, again.attempt) == ("failed", 3), "a replay begins at its own first attempt"
    assert (await client.get(job.id)).attempt == 3, "the dead letter itself stays as it is"


async def test_a_permanent_error_is_not_tried_again(client: Client) -> None:
    job = await client.submit("test.fail", {"how": "permanent", "message": "never"}, max_retries=5)
    job = await client.wait(job.id, timeout=120)
    assert (job.state, job.attempt, job.failures) == ("failed", 1, 1)


async def test_a_job_that_kills_its_process_is_given_up_by_the_count_of_crashes(client: Client) -> None:
    job = await client.submit("test.die", {}, max_retries=0)
    job = await client.wait(job.id, timeout=180)
    assert (job.state, job.attempt, job.crashes, job.failures) == ("failed", 3, 3, 0)
    assert job.error is not None
    assert job.error.type == "crash_loop"
    assert (await client.history(job.id)).transitions[-1].reason == "crash_loop"
