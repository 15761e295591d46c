"""Ended jobs get two marks and nothing else; dead letters are the failed jobs that are not discarded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headrace.contracts.job import JobError
from headrace.contracts.states import TERMINAL, JobState
from headrace.runtime.store.dead_reads import DeadFilter, DeadReads
from headrace.runtime.store.documents import to_document
from headrace.testing.builders import make_job


def put(kit: Any, **fields: Any) -> Any:
    job = make_job(**{"state": JobState.FAILED} | fields)
    kit.raw.jobs.insert_one(to_document(job))
    return job


def stored(kit: Any, job: Any) -> dict[str, Any]:
    return kit.raw.jobs.find_one({"_id": job.id})


@pytest.mark.parametrize("state", JobState)
async def test_only_ended_jobs_are_marked_and_nothing_else_of_them_changes(kit: Any, state: JobState) -> None:
    job = put(kit, state=state)
    before = stored(kit, job)
    await kit.manager.mark_replayed({job.id: "new"})
    hidden = await kit.manager.discard([job.id, "unknown"])
    after = stored(kit, job)
    expected = {"replayed_by": "new"} if state in TERMINAL else {}
    assert hidden == (state is JobState.FAILED)
    if hidden:
        expected["discarded_at"] = after["discarded_at"]
    assert after == before | expected
    assert await kit.manager.discard([job.id]) == 0


async def test_each_job_is_marked_with_its_own_replay_and_the_last_one_counts(kit: Any) -> None:
    jobs = [put(kit) for _ in range(3)]
    await kit.manager.mark_replayed({job.id: f"of-{job.id}" for job in jobs})
    assert [stored(kit, job)["replayed_by"] for job in jobs] == [f"of-{job.id}" for job in jobs]
    await kit.manager.mark_replayed({jobs[0].id: "again"})
    await kit.manager.mark_replayed({})
    assert stored(kit, jobs[0])["replayed_by"] == "again"


async def test_dead_letters_are_found_by_what_they_are(kit: Any, now: Any) -> None:
    reads = DeadReads(kit.database)
    error = JobError(type="E", message="one", fingerprint="f", at=now)
    one = put(kit, error=error, tenant="red", finished_at=now)
    two = put(kit, error=error.model_copy(update={"message": "two"}), type="other", pool="big", finished_at=now)
    three = put(kit, error=error, replayed_by="x", finished_at=now + timedelta(seconds=1))
    put(kit, error=error, discarded_at=now)
    put(kit, state=JobState.COMPLETED)

    async def ids(**wanted: Any) -> list[str]:
        return [job.id for job in await reads.newest(DeadFilter(**wanted), before_id=None, limit=9)]

    assert await ids() == [three.id, two.id, one.id]
    assert await ids(type="other") == await ids(pool="big") == [two.id]
    assert await ids(tenant="red") == await ids(ids=[one.id, "unknown"]) == [one.id]
    assert await ids(fingerprint="g") == await ids(ids=[]) == []
    assert await ids(unreplayed=True) == [two.id, one.id]
    assert [job.id for job in await reads.newest(DeadFilter(), before_id=three.id, limit=1)] == [two.id]
    assert [job.id for job in await reads.oldest(DeadFilter(), after_id=one.id, limit=1)] == [two.id]
    assert await reads.oldest_ids(DeadFilter(ids=[three.id, one.id]), limit=9) == [one.id, three.id]
    assert await reads.count(DeadFilter(fingerprint="f")) == 3
    groups = await reads.groups(DeadFilter())
    assert [(group.type, group.count, group.sample_message) for group in groups] == [
        ("noop", 2, "one"),
        ("other", 1, "two"),
    ]
    assert groups[0].last_at - groups[0].first_at == timedelta(seconds=1)
    assert await reads.why_not([one.id, two.id, "unknown"], tenant="red") == {one.id: JobState.FAILED}
