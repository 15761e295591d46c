"""Ended jobs within a number of bytes, audit entries within an age: only what is over ever goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from recovery_stage import Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.job import Job
from headrace.contracts.states import JobState
from headrace.recovery import retention
from headrace.recovery.audit import AuditDuty
from headrace.recovery.crawl_data import CrawlDataDuty
from headrace.recovery.retention import RetentionDuty
from headrace.runtime.store.audit import AuditLog
from headrace.runtime.store.retention import Retention

YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
BODY = '"' + "x" * 20_000 + '"'


@pytest.fixture
async def limited(config: JobConfig) -> AsyncIterator[Stage]:
    """About five of the jobs below fit."""
    async with open_stage(config.model_copy(update={"retention_bytes": 110_000})) as stage:
        yield stage


async def ended(stage: Stage, state: JobState = JobState.COMPLETED, **fields: Any) -> Job:
    values = {"state": state, "finished_at": YESTERDAY, "payload": BODY}
    return await stage.job(**values | fields)


async def left(stage: Stage) -> set[str]:
    return {document["_id"] async for document in stage.parts.database.jobs.find({}, {"_id": 1})}


async def test_the_oldest_ended_jobs_go_until_the_rest_fits(limited: Stage) -> None:
    jobs = [await ended(limited) for _ in range(12)]
    duty = RetentionDuty(limited.parts)
    counts = await duty.run_once()
    kept = await left(limited)
    assert kept == {job.id for job in jobs[counts["job_removed"] :]}
    assert 3 <= len(kept) <= 5
    assert duty.stored_bytes <= 110_000
    assert await duty.run_once() == {}


async def test_nothing_that_is_pending_recent_or_a_lasting_dead_letter_ever_goes(limited: Stage) -> None:
    stays = [
        await limited.job(payload=BODY),
        await limited.running(payload=BODY),
        await ended(limited, finished_at=datetime.now(UTC) - timedelta(minutes=59)),
        await ended(limited, JobState.FAILED),
    ]
    goes = [
        await ended(limited),
        await ended(limited, JobState.CANCELLED),
        await ended(limited, JobState.FAILED, discarded_at=YESTERDAY),
        await ended(limited, JobState.FAILED),
    ]
    own_end = {"$set": {"expire_at": datetime.now(UTC) + timedelta(days=9)}}
    await limited.parts.database.jobs.update_one({"_id": goes[-1].id}, own_end)
    duty = RetentionDuty(limited.parts)
    duty.limit_bytes = 1
    assert await duty.run_once() == {"job_removed": 4}
    assert await left(limited) == {job.id for job in stays}
    assert await duty.run_once() == {}, "it stays above the limit"
    assert duty.stored_bytes > 60_000


async def test_completed_jobs_go_before_any_failed_one(limited: Stage) -> None:
    discarded = [await ended(limited, JobState.FAILED, discarded_at=YESTERDAY) for _ in range(4)]
    done = [await ended(limited) for _ in range(3)]
    assert await RetentionDuty(limited.parts).run_once() == {"job_removed": 2}
    assert await left(limited) == {job.id for job in (*discarded, done[-1])}


async def test_without_a_limit_nothing_goes_and_the_size_is_known(stage: Stage) -> None:
    job = await ended(stage)
    duty = RetentionDuty(stage.parts)
    assert await duty.run_once() == {}
    assert await left(stage) == {job.id}
    assert duty.stored_bytes > 20_000


async def test_logs_and_crawl_results_count_and_go_with_their_jobs(
    limited: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs themselves are small; only as many go as their results make necessary."""
    monkeypatch.setattr(retention, "HEAVY_BATCH", 1)
    handle = limited.parts.database.handle
    jobs = [await ended(limited, payload="null") for _ in range(4)]
    for job in jobs:
        for n in range(4):
            await handle["crawl_pages"].insert_one({"_id": f"{job.id}:{n}", "text": "x" * 10_000})
        await handle["job_logs"].insert_one({"_id": f"{job.id}:00000001", "lines": []})
    assert await RetentionDuty(limited.parts).run_once() == {"job_removed": 2}
    assert await left(limited) == {job.id for job in jobs[2:]}
    for name, each in (("crawl_pages", 4), ("job_logs", 1)):
        owners = [document["_id"].split(":")[0] async for document in handle[name].find({}, {"_id": 1})]
        assert sorted(owners) == sorted([job.id for job in jobs[2:]] * each)


async def test_results_beyond_one_pass_are_finished_by_the_next_before_more_jobs_go(
    limited: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "HEAVY_BATCH", 1)
    monkeypatch.setattr(retention, "MAX_LEFTOVERS", 3)
    monkeypatch.setattr("headrace.runtime.store.crawl_leftovers.BATCH", 3)
    pages = limited.parts.database.handle["crawl_pages"]
    jobs = [await ended(limited, payload="null") for _ in range(2)]
    for job in jobs:
        await pages.insert_many([{"_id": f"{job.id}:{n}", "text": "x" * 10_000} for n in range(7)])
    duty = RetentionDuty(limited.parts)
    assert await duty.run_once() == {"job_removed": 1}
    assert await pages.count_documents({}) == 11
    assert await duty.run_once() == {}, "what the first one weighed is not gone yet"
    for _ in range(3):
        await duty.run_once()
    assert await left(limited) == {jobs[1].id}
    assert await pages.count_documents({}) == 7


async def test_a_kill_between_job_and_results_leaves_what_the_crawl_duty_finds(
    limited: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = limited.parts.database.handle["crawl_pages"]
    gone = await ended(limited, payload="null")
    await pages.insert_many([{"_id": f"{gone.id}:{n}", "text": "x" * 50_000} for n in range(3)])

    async def die(*_: object, **__: object) -> int:
        raise RuntimeError

    duty = RetentionDuty(limited.parts)
    monkeypatch.setattr(duty._leftovers, "remove", die)
    with pytest.raises(RuntimeError):
        await duty.run_once()
    assert await left(limited) == set()
    assert await pages.count_documents({}) == 3
    await CrawlDataDuty(limited.parts).run_once()
    assert await pages.count_documents({}) == 0


async def test_a_job_that_is_not_over_is_not_removed_by_its_id(stage: Stage) -> None:
    waiting, running, over = await stage.job(), await stage.running(), await ended(stage)
    assert await Retention(stage.parts.database).remove([waiting.id, running.id, over.id]) == 1
    assert await left(stage) == {waiting.id, running.id}


async def test_old_audit_entries_go_and_young_ones_stay(config: JobConfig) -> None:
    async with open_stage(config.model_copy(update={"audit_retention_days": 30})) as stage:
        audit = AuditLog(stage.parts.database)
        for _ in range(4):
            await audit.write(who="ops", tenant=None, action="pause", target="p")
        newest, *older = await audit.page(None, 10)
        entries = stage.parts.database.handle["audit"]
        for days, entry in zip((29, 31, 400), older, strict=True):
            at = {"$set": {"at": datetime.now(UTC) - timedelta(days=days)}}
            await entries.update_one({"_id": entry.id}, at)
        duty = AuditDuty(stage.parts)
        assert await duty.run_once() == {"audit_pruned": 2}
        assert [entry.id for entry in await audit.page(None, 10)] == [newest.id, older[0].id]
        assert await duty.run_once() == {}


async def test_audit_entries_stay_for_ever_with_0_days(config: JobConfig) -> None:
    async with open_stage(config.model_copy(update={"audit_retention_days": 0})) as stage:
        audit = AuditLog(stage.parts.database)
        await audit.write(who="ops", tenant=None, action="pause")
        await stage.parts.database.handle["audit"].update_many({}, {"$set": {"at": YESTERDAY.replace(year=2001)}})
        assert await AuditDuty(stage.parts).run_once() == {}
        assert len(await audit.page(None, 10)) == 1
