"""Places left behind, jobs stored while Redis was away, jobs that had to start in time."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from recovery_stage import LONG_AGO, POOL, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.states import JobState
from headrace.local import ports
from headrace.recovery.expiry import ExpiryDuty
from headrace.recovery.reservations import ReservationDuty
from headrace.recovery.stored import StoredDuty
from headrace.testing.builders import make_job_id


async def reserve(stage: Stage, *ids: str, expired: bool = True) -> None:
    at = await stage.parts.queue.time_ms() + (-1000 if expired else 60_000)
    await stage.redis.zadd(stage.keys.reserved, dict.fromkeys(ids, at))


@pytest.mark.parametrize(
    ("state", "place", "counted"),
    [
        (JobState.QUEUED, "ready", "place_filled"),
        (JobState.PROCESSING, "inflight", "place_filled"),
        (JobState.COMPLETED, None, "place_freed"),
        (None, None, "place_freed"),
    ],
)
async def test_a8_a_place_past_its_time_becomes_what_its_document_says(
    stage: Stage, state: JobState | None, place: str | None, counted: str
) -> None:
    await stage.know_pool()
    job_id = make_job_id()
    if state is JobState.PROCESSING:
        job_id = (await stage.running()).id
    elif state is not None:
        job_id = (await stage.job(state=state)).id
    await reserve(stage, job_id)
    assert await ReservationDuty(stage.parts, stage.pools).run_once() == {counted: 1}
    assert (await stage.where(job_id)).place == place
    assert await stage.redis.zcard(stage.keys.reserved) == 0


async def test_a8_a_place_that_is_still_kept_is_left_alone(stage: Stage) -> None:
    await stage.know_pool()
    job_id = make_job_id()
    await reserve(stage, job_id, expired=False)
    assert await ReservationDuty(stage.parts, stage.pools).run_once() == {}
    assert (await stage.where(job_id)).place == "reserved"


async def test_jobs_stored_while_redis_was_away_are_pushed_once(stage: Stage) -> None:
    waiting = [await stage.job(indexed=False) for _ in range(3)]
    over = await stage.job(indexed=False, state=JobState.CANCELLED)
    duty = StoredDuty(stage.parts, stage.pools)
    assert await duty.run_once() == {"stored": 3}
    assert await stage.held_ids() == {job.id: "ready" for job in waiting}
    assert [(await stage.document(job.id)).indexed for job in (*waiting, over)] == [True, True, True, False]
    assert await duty.run_once() == {}


async def test_a_job_that_had_to_start_in_time_fails_and_leaves_redis(stage: Stage) -> None:
    late, other = await stage.job(expires_at=LONG_AGO), await stage.job()
    await stage.enqueue(late, other)
    duty = ExpiryDuty(stage.parts)
    assert await duty.run_once() == {"expired": 1}
    after = await stage.document(late.id)
    assert (after.state, after.error and after.error.type) == (JobState.FAILED, "expired")
    assert await stage.held_ids() == {other.id: "ready"}
    assert await duty.run_once() == {}


async def test_jobs_expire_while_redis_is_away(config: JobConfig) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{ports.free_port()}")
    async with open_stage(config.model_copy(update={"redis_url": nowhere})) as stage:
        job = await stage.job(expires_at=LONG_AGO)
        assert await ExpiryDuty(stage.parts).run_once() == {"expired": 1}
        assert (await stage.document(job.id)).state is JobState.FAILED


async def test_only_pools_somebody_uses_are_looked_at(stage: Stage) -> None:
    await stage.job(pool="busy")
    await stage.job(pool="past", state=JobState.COMPLETED)
    await stage.know_pool()
    await stage.parts.database.pools.insert_one({"_id": "paused-one", "paused": True})
    assert await stage.pools.names() == ["busy", POOL, "paused-one"]
