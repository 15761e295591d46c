from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headrace.contracts.heartbeat import ExitRecord
from headrace.contracts.job import Idempotency
from headrace.contracts.states import JobState
from headrace.runtime.store import job_search
from headrace.runtime.store.job_logs import JobLogs, LogBatch
from headrace.runtime.store.job_search import JobSearch, Search, first_id_at
from headrace.runtime.store.page_reads import PageReads


async def found(kit, limit=10, **fields):
    page = await JobSearch(kit.database).page(Search(**fields), limit=limit)
    return [job.id for job in page.jobs]


async def test_pages_go_newest_first_and_end(kit):
    ids = [(await kit.put()).id for _ in range(5)][::-1]
    search = JobSearch(kit.database)
    first = await search.page(Search(), limit=2)
    second = await search.page(Search(before_id=first.next_before), limit=2)
    third = await search.page(Search(before_id=second.next_before), limit=2)
    assert [job.id for page in (first, second, third) for job in page.jobs] == ids
    assert (first.cut, third.next_before) == (False, None)


async def test_a_stretch_without_a_match_is_not_the_end(kit, monkeypatch):
    monkeypatch.setattr(job_search, "STRETCH", 2)
    wanted = await kit.put(pool="rare")
    for _ in range(3):
        await kit.put()
    search = JobSearch(kit.database)
    first = await search.page(Search(pool="rare"), limit=2)
    assert (first.jobs, first.cut) == ([], True)
    second = await search.page(Search(pool="rare", before_id=first.next_before), limit=2)
    assert [job.id for job in second.jobs] == [wanted.id]
    assert (await search.page(Search(pool="rare", before_id=second.next_before), limit=2)).next_before is None


async def test_times_are_found_by_ids_and_judged_by_the_job(kit):
    now = datetime.now(UTC)
    job = await kit.put()
    assert await found(kit, since=now - timedelta(seconds=5)) == [job.id]
    assert await found(kit, since=now + timedelta(seconds=5)) == []
    assert await found(kit, since=now - timedelta(seconds=5), pool=job.pool) == [job.id]
    assert await found(kit, since=now + timedelta(seconds=5), pool=job.pool) == []
    assert first_id_at(now) < first_id_at(now + timedelta(milliseconds=1))


async def test_a_filter_of_a_tag_is_a_value_and_never_a_path(kit):
    job = await kit.put(tags={"a.b": "$c"})
    assert await found(kit, tag=("a.b", "$c")) == [job.id]
    assert await found(kit, tag=("a", "b")) == []


async def test_counts_are_capped_and_made_from_indexes_alone(kit):
    for _ in range(3):
        await kit.put()
    search = JobSearch(kit.database)
    assert await search.count(Search(state=JobState.QUEUED), cap=10) == 3
    assert await search.count(Search(type="noop"), cap=2) == 2
    assert await search.count(Search(pool="default"), cap=10) is None


async def test_names_find_jobs_of_the_tenant_alone(kit):
    job = await kit.put(tenant="acme", idempotency=Idempotency(scope="tok", key="k-1", digest="d"))
    search = JobSearch(kit.database)

    async def ids(text: str, tenant: str | None, *scopes: str) -> list[str]:
        return [item.id for item in await search.by_name(text, scopes=scopes, tenant=tenant)]

    assert await ids(job.id[:20].upper(), "acme", "tok") == [job.id]
    assert await ids(job.id[:20], "other", "tok") == []
    assert await ids("k-1", None, "tok") == [job.id]
    assert await ids("k-1", None) == []
    assert await ids("$where", None, "tok") == []


async def test_a_pulse_changes_with_what_is_shown(kit):
    reads = PageReads(kit.database)
    job = await kit.running(tenant="acme")
    first = await reads.pulse(job.id, tenant=None)
    assert await reads.pulse(job.id, tenant="acme") == first
    assert await reads.pulse(job.id, tenant="other") is None
    await JobLogs(kit.database).append([LogBatch(job.id, 1, 1, [(1, 0.0, "stdout", "x")], keep=5)])
    second = await reads.pulse(job.id, tenant=None)
    await kit.manager.save_progress(job.id, 1, "w-own", fraction=0.5, message="", started_ms_ago=1)
    assert len({first, second, await reads.pulse(job.id, tenant=None)}) == 3
    (line,) = await reads.last_lines(job.id, 10)
    assert (line.text, line.attempt) == ("x", 1)
    assert await reads.last_lines("nobody", 10) == []


async def test_deaths_are_told_latest_first_without_those_that_ended_in_order(kit):
    reads = PageReads(kit.database)
    for name, kind in (("w-1", "signal"), ("w-2", "graceful"), ("w-3", "memory")):
        await kit.incarnations.register(
            name, service="s", host="h", pool="p", types=[], slots=1, version="1", lease_seconds=9
        )
        await kit.incarnations.mark_dead(name, exit_record=ExitRecord(kind=kind), running=["j"])
    assert {item.id for item in await reads.deaths(10)} == {"w-1", "w-3"}
    assert set(await reads.workers(["w-1", "w-9"])) == {"w-1"}


async def test_jobs_that_are_not_indexed_are_counted_up_to_a_cap(kit):
    for _ in range(3):
        await kit.put(indexed=False)
    await kit.put()
    assert await PageReads(kit.database).not_indexed(cap=2) == 2
    assert await PageReads(kit.database).not_indexed(cap=9) == 3
