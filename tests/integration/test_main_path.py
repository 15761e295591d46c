"""From `POST /v1/jobs` to the end of a job, through the four services on real stores."""

from __future__ import annotations

import io

import aiohttp
import pytest
from whole import Whole

from headrace.contracts.errors import (
    AlreadyTerminalError,
    InvalidPayloadError,
    UnknownJobTypeError,
)
from headrace.testing.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_jobs_of_every_kind_end_as_they_should(whole: Whole) -> None:
    client = whole.client

    noop = await client.wait((await client.submit("noop", {})).id, timeout=15)
    assert (noop.state, noop.attempt, noop.indexed) == ("completed", 1, True)

    answer = {"numbers": [1, 2.5, 10**30], "text": "ü\u0000$set"}
    slept = await client.wait(
        (await client.submit("test.sleep", {"seconds": 0.05, "result": answer}, tags={"team": "a"})).id, timeout=15
    )
    assert slept.result == answer
    assert slept.tags == {"team": "a"}
    assert slept.started_at is not None
    assert slept.finished_at is not None
    assert slept.started_at < slept.finished_at

    retried = await client.wait((await client.submit("test.fail", {"until_attempt": 2})).id, timeout=15)
    assert (retried.state, retried.attempt, retried.failures, retried.result) == ("completed", 3, 2, 3)
    history = await client.history(retried.id)
    assert [entry.reason for entry in history.transitions] == [
        "submitted", "claimed", "retry", "claimed", "retry", "claimed", "completed",
    ]  # fmt: skip
    assert [error.type for error in history.errors] == ["RuntimeError", "RuntimeError"]

    dead = await client.wait((await client.submit("test.fail", {"until_attempt": 9}, max_retries=1)).id, timeout=15)
    assert (dead.state, dead.attempt, dead.failures) == ("failed", 2, 2)
    assert dead.error is not None
    assert dead.error.message == "asked to fail"

    permanent = await client.wait((await client.submit("test.fail", {"how": "permanent"})).id, timeout=15)
    assert (permanent.state, permanent.attempt) == ("failed", 1)

    steps = await client.wait((await client.submit("test.steps", {"steps": 3})).id, timeout=15)
    assert (steps.state, steps.result) == ("completed", 3)
    assert steps.progress is not None
    assert (steps.progress.fraction, steps.progress.message) == (1.0, "3 of 3 steps")

    late = await client.wait((await client.submit("test.sleep", {"seconds": 30}, timeout_seconds=1)).id, timeout=25)
    assert late.error is not None
    assert late.error.type == "timeout"

    await whole.assert_sound(noop.id, slept.id, retried.id, dead.id, permanent.id, steps.id, late.id)
    for pool in ("default", "test"):
        await whole.until_redis_agrees(pool)


async def test_a_running_job_is_cancelled_within_a_second_and_a_waiting_one_at_once(whole: Whole) -> None:
    client = whole.client
    for kind, payload in (
        ("test.sleep", {"seconds": 60}),
        ("test.block", {"seconds": 60, "cooperative": True}),
    ):
        running = await client.submit(kind, payload)
        await whole.until_state(running.id, "processing")
        asked = await client.cancel(running.id)
        assert asked.cancel_requested_at is not None
        await whole.until_state(running.id, "cancelled", within=3)

    stubborn = await client.submit("test.block", {"seconds": 60})
    await whole.until_state(stubborn.id, "processing")
    await client.cancel(stubborn.id)
    await whole.until_state(stubborn.id, "cancelled", within=6)

    waiting = await client.submit("noop", {}, delay_seconds=3600)
    assert (await client.cancel(waiting.id)).state == "cancelled"
    assert (await client.cancel(waiting.id)).state == "cancelled"

    done = await client.wait((await client.submit("noop", {})).id, timeout=15)
    with pytest.raises(AlreadyTerminalError):
        await client.cancel(done.id)
    await whole.assert_sound(running.id, stubborn.id, waiting.id, done.id)


async def test_what_is_refused_leaves_nothing(whole: Whole) -> None:
    before = await whole.database.jobs.count_documents({})
    with pytest.raises(UnknownJobTypeError):
        await whole.client.submit("nonesuch", {})
    with pytest.raises(InvalidPayloadError) as refused:
        await whole.client.submit("crawl", {"start_urls": "not a list", "max_pages": 0})
    assert refused.value.errors
    url = whole.system.urls["scheduler"]
    async with aiohttp.ClientSession() as session:
        for body, status, code in (
            (b"{", 400, "malformed-json"),
            (b'{"type": "noop", "payload": {}, "colour": 1}', 422, "validation"),
            (b'{"type": "noop", "payload": {"note": "' + b"x" * 2_000_000 + b'"}}', 413, "too-large"),
        ):
            async with session.post(
                f"{url}/v1/jobs", data=io.BytesIO(body), headers={"Content-Type": "application/json"}
            ) as response:
                assert (response.status, (await response.json())["type"]) == (status, f"/problems/{code}")
    assert await whole.database.jobs.count_documents({}) == before


async def test_delayed_jobs_start_when_due_and_never_early(whole: Whole) -> None:
    job = await whole.client.submit("noop", {}, delay_seconds=1.5)
    done = await whole.client.wait(job.id, timeout=15)
    assert done.claimed_at is not None
    late = (done.claimed_at - done.run_at).total_seconds()
    assert 0 <= late < 1.0
    await whole.assert_sound(job.id)


async def test_the_monitor_sees_every_part(whole: Whole) -> None:
    await whole.client.wait((await whole.client.submit("noop", {})).id, timeout=15)

    async def overview() -> bool:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{whole.system.urls['monitor']}/v1/overview") as response,
        ):
            found = await response.json()
            assert found["status"] == "ok", found["parts"]
            assert found["jobs"]["completed"] >= 1, found["jobs"]
            return True

    await eventually(overview, within=10)
