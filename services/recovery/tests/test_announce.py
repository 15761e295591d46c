"""Recovery tells what it does to jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from recovery_stage import POOL, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.states import JobState
from headrace.recovery.expiry import ExpiryDuty
from headrace.recovery.orphans import OrphanDuty


@pytest.fixture
async def stage(config: JobConfig) -> AsyncIterator[Stage]:
    async with open_stage(config) as stage:
        yield stage


async def told(stage: Stage) -> list[tuple[str, str, str, int]]:
    page = await stage.parts.events.read(None)
    return [(event.id, event.event.value, event.state.value, event.attempt) for _, event in page.events]


async def test_an_orphan_that_goes_back_is_queued_again(stage: Stage) -> None:
    job = await stage.running(tenant="red")
    assert await OrphanDuty(stage.parts).run_once() == {"host_lost": 1}
    assert await told(stage) == [(job.id, "job.queued", "queued", 1)]
    (_, event), *_ = (await stage.parts.events.read(None)).events
    assert (event.type, event.pool, event.tenant) == ("noop", POOL, "red")


async def test_an_orphan_that_ends_has_failed_or_was_cancelled(stage: Stage) -> None:
    failed = await stage.running(crashes=2)
    await OrphanDuty(stage.parts).run_once()
    cancelled = await stage.running(cancel_requested_at=datetime.now(UTC))
    await OrphanDuty(stage.parts).run_once()
    assert await told(stage) == [
        (failed.id, "job.failed", "failed", 1),
        (cancelled.id, "job.cancelled", "cancelled", 1),
    ]


async def test_a_job_that_was_not_started_in_time_has_failed(stage: Stage) -> None:
    job = await stage.job(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await ExpiryDuty(stage.parts).run_once() == {"expired": 1}
    assert (await stage.document(job.id)).state is JobState.FAILED
    assert await told(stage) == [(job.id, "job.failed", "failed", 0)]


async def test_nothing_to_do_is_no_event(stage: Stage) -> None:
    await OrphanDuty(stage.parts).run_once()
    await ExpiryDuty(stage.parts).run_once()
    assert await told(stage) == []
