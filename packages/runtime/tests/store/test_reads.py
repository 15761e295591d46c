"""Reads: lists, counts and recovery's comparisons."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from headrace.contracts.errors import NotFoundError
from headrace.contracts.job import Priority
from headrace.contracts.states import JobState
from headrace.runtime.store.reads import ID_PATTERN, JobQuery
from headrace.runtime.store.reconcile_reads import ReconcileReads
from headrace.testing.builders import make_job, make_job_id


def ids(jobs: list[Any]) -> list[str]:
    return [job.id for job in jobs]


async def test_a_job_is_read_whole_and_only_by_its_tenant(kit: Any) -> None:
    job = await kit.put(tenant="t1", traceparent="00-x")
    assert await kit.reads.job(job.id) == await kit.reads.job(job.id, tenant="t1") == job
    for job_id, tenant in [(make_job_id(), None), (job.id, "t2"), (job.id, "")]:
        with pytest.raises(NotFoundError):
            await kit.reads.job(job_id, tenant=tenant)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"states": [JobState.QUEUED]}, [5, 4, 1, 0]),
        ({"states": [JobState.PROCESSING, JobState.FAILED]}, [3, 2]),
        ({"type": "other"}, [1]),
        ({"type": "$ne"}, []),
        ({"pool": "cpu"}, [4]),
        ({"priority": 0}, [5]),
        ({"tenant": "t1"}, [4]),
        ({"tag": ("a.$b", "x")}, [1]),
        ({"tag": ("team", "$name")}, [5]),
        ({"tag": ("team", "name")}, []),
        ({"tag": ("$where", "1")}, []),
        ({"limit": 2}, [5, 4]),
        ({"states": [JobState.QUEUED], "pool": "default", "limit": 2}, [5, 1]),
    ],
)
async def test_a_list_holds_what_was_asked_for_newest_first(
    kit: Any, query: dict[str, Any], expected: list[int]
) -> None:
    jobs = [
        kit.place(JobState.QUEUED),
        kit.place(JobState.QUEUED, type="other", tags={"a.$b": "x"}),
        kit.place(JobState.PROCESSING),
        kit.place(JobState.FAILED),
        kit.place(JobState.QUEUED, pool="cpu", tenant="t1"),
        kit.place(JobState.QUEUED, priority=0, tags={"team": "$name", "name": "team"}),
    ]
    assert ids(await kit.reads.jobs(JobQuery(**query))) == [jobs[index].id for index in expected]


async def test_pages_follow_each_other_without_gap_or_repeat(kit: Any) -> None:
    jobs = [make_job() for _ in range(7)]
    await kit.manager.insert(jobs)
    seen: list[str] = []
    cursor = None
    while page := await kit.reads.jobs(JobQuery(limit=3, before_id=cursor)):
        seen += ids(page)
        cursor = page[-1].id
    assert seen == ids(jobs)[::-1]


async def test_a_list_may_be_cut_by_the_time_of_submission(kit: Any, now: datetime) -> None:
    old, middle, new = [await kit.put(created_at=now + timedelta(hours=hours)) for hours in (-2, -1, 0)]
    cut = JobQuery(created_after=old.created_at, created_before=new.created_at)
    assert ids(await kit.reads.jobs(cut)) == [middle.id]


async def test_a_list_leaves_out_what_is_large(kit: Any) -> None:
    await kit.put(payload='{"large": 1}')
    (job,) = await kit.reads.jobs(JobQuery())
    assert (job.payload, job.log, job.errors) == ("null", (), ())


async def test_pending_jobs_of_a_pool_are_counted_up_to_the_cap(kit: Any) -> None:
    for state in JobState:
        kit.place(state)
        kit.place(state, pool="other")
    assert await kit.reads.count_pending("default", cap=100) == 2
    assert await kit.reads.count_pending("default", cap=1) == 1
    assert await kit.reads.count_pending("none", cap=5) == 0
    assert await kit.reads.counts_by_state() == {state.value: 2 for state in JobState}
    assert await kit.reads.counts_by_state(cap=1) == {state.value: 1 for state in JobState}


async def test_waiting_jobs_are_paged_in_claim_order_also_where_scores_are_equal(kit: Any, now: datetime) -> None:
    jobs = [make_job(priority=priority, created_at=now) for priority in (Priority.LOW, Priority.HIGH) for _ in range(7)]
    jobs += [make_job(created_at=now + timedelta(milliseconds=ms), run_at=now + timedelta(hours=1)) for ms in (3, 1, 2)]
    await kit.manager.insert(jobs)
    kit.place(JobState.PROCESSING)
    await kit.put(pool="other")
    seen: list[Any] = []
    async for page in ReconcileReads(kit.database).stream("default", JobState.QUEUED, page=4):
        assert len(page) <= 4
        seen += page
    expected = sorted(jobs, key=lambda job: (job.ready_score, job.id))
    assert ids(seen) == ids(expected)
    assert [place.due for place in seen] == [True] * 7 + [False] * 3 + [True] * 7
    assert [place.score for place in seen] == [job.ready_score for job in expected]


async def test_running_jobs_come_with_claim_time_and_token(kit: Any) -> None:
    job = await kit.running()
    await kit.put()
    (found,) = [page async for page in ReconcileReads(kit.database).stream("default", JobState.PROCESSING, page=9)]
    assert [(item.id, item.claimed_ms, item.claim_token) for item in found] == [
        (job.id, round(job.claimed_at.timestamp() * 1000), "token-own")
    ]


async def test_the_reads_limit_does_not_reach_into_the_callers_own_calls(kit: Any) -> None:
    job = await kit.running()
    kit.commands.clear()
    async for _ in ReconcileReads(kit.database).stream("default", JobState.PROCESSING, page=1):
        await kit.manager.settle([], by="w")
        await kit.database.handle.command("ping")
    assert [command for command in kit.commands if "ping" in command and "maxTimeMS" in command] == []
    assert job.state is JobState.PROCESSING


async def test_what_changed_lately_is_listed_with_its_pool_and_place(kit: Any, now: datetime) -> None:
    kit.place(JobState.QUEUED, updated_at=now - timedelta(hours=1))
    old = kit.place(JobState.QUEUED, updated_at=now - timedelta(seconds=20), pool="other")
    new = await kit.running()
    back = kit.place(JobState.QUEUED, updated_at=now - timedelta(seconds=10))
    reads = ReconcileReads(kit.database)
    after, until = now - timedelta(seconds=120), await reads.now()
    changed = await reads.changed(after=after, until=until, limit=9)
    assert changed.last is None
    assert [(item.pool, item.id, item.state) for item in changed.standings] == [
        ("other", old.id, JobState.QUEUED),
        ("default", back.id, JobState.QUEUED),
    ]
    assert [item.id for item in await reads.running(after=after, limit=9)] == [new.id]
    assert await reads.running(after=until + timedelta(seconds=1), limit=9) == []
    first = await reads.changed(after=after, until=until, limit=1)
    assert len(first.standings) == 1
    assert first.last is not None


async def test_pools_are_those_with_pending_jobs_or_settings(kit: Any) -> None:
    kit.place(JobState.QUEUED, pool="waiting")
    kit.place(JobState.PROCESSING, pool="running")
    kit.place(JobState.COMPLETED, pool="finished")
    kit.raw.pools.insert_many(
        [{"_id": "kept"}, {"_id": "stopped", "paused": True, "paused_reason": "why"}, {"_id": "x", "paused": True}]
    )
    assert await ReconcileReads(kit.database).pools() == ["kept", "running", "stopped", "waiting", "x"]
    assert await kit.reads.paused() == {"stopped": "why", "x": ""}


def test_an_id_of_ours_is_recognised() -> None:
    assert ID_PATTERN.fullmatch(make_job_id())
    assert not ID_PATTERN.fullmatch("0199")
