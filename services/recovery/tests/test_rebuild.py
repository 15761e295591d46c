"""The rebuild: rules of the protocol, state before, one pass, state after."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from recovery_backlog import agrees, at_failpoint, backlog, drain, duty_of
from recovery_stage import LONG_AGO, POOL, Stage

from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import Job, Priority
from headrace.recovery import rebuild
from headrace.recovery.rebuild import RebuildDuty
from headrace.testing.builders import make_job


async def test_an_empty_redis_is_filled_in_claim_order(stage: Stage) -> None:
    jobs = await backlog(stage, waiting=30, running=3)
    assert await duty_of(stage).run_once() == {"rebuilt": 33, "pool_rebuilt": 1}
    assert await agrees(stage)
    held = await stage.held_ids()
    assert {held[job.id] for job in jobs[30:]} == {"inflight"}
    in_order = sorted(jobs[:30], key=lambda job: (job.ready_score, job.id))
    assert await drain(stage) == [job.id for job in in_order]


async def test_a_complete_pool_is_left_alone(stage: Stage) -> None:
    await stage.job()
    await stage.complete()
    assert await duty_of(stage).run_once() == {}
    assert await stage.held_ids() == {}


async def test_a_pool_without_jobs_is_complete_at_once(stage: Stage) -> None:
    await stage.know_pool()
    assert await duty_of(stage).run_once() == {"pool_rebuilt": 1}
    assert await agrees(stage)


async def test_a_job_that_waits_for_its_time_goes_to_its_time(stage: Stage) -> None:
    job = await stage.job(run_at=LONG_AGO.replace(year=LONG_AGO.year + 1))
    await duty_of(stage).run_once()
    located = await stage.where(job.id)
    assert (located.place, located.score) == ("delayed", job.run_at_ms)


async def test_a8_the_count_is_never_below_mongodbs_when_it_is_complete(stage: Stage) -> None:
    await backlog(stage, waiting=5, running=4)
    await duty_of(stage).run_once()
    reservation = await stage.parts.queue.reserve(POOL, ["one-more"], limit=9)
    assert (reservation.complete, reservation.granted, reservation.pending) == (True, 0, 9)


async def test_b12_the_pause_is_there_before_the_first_id(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.job()
    await stage.parts.database.pools.insert_one({"_id": POOL, "paused": True, "paused_reason": "repairs"})
    seen: list[bool] = []
    refill = stage.parts.queue.refill

    async def watched(pool: str, entries: Any) -> int:
        seen.append((await stage.parts.queue.depths(pool)).paused)
        return await refill(pool, entries)

    monkeypatch.setattr(stage.parts.queue, "refill", watched)
    await duty_of(stage).run_once()
    assert seen
    assert all(seen)
    assert await drain(stage) == []


async def test_b12_a_pause_that_mongodb_does_not_know_is_lifted(stage: Stage) -> None:
    job = await stage.job()
    await stage.parts.queue.pause(POOL, True, "from an old snapshot")
    await duty_of(stage).run_once()
    assert await drain(stage) == [job.id]


async def test_b11_what_comes_behind_the_walk_is_added_by_the_second_pass(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backlog(stage, waiting=10, running=0)
    behind = make_job(priority=Priority.HIGH, created_at=LONG_AGO, updated_at=await stage.parts.reconcile.now())
    started: list[Job] = []

    async def insert() -> None:
        await stage.store(behind)
        started.append(await stage.running(updated_at=await stage.parts.reconcile.now()))

    at_failpoint(monkeypatch, "during_rebuild", insert)
    await duty_of(stage).run_once()
    held = await stage.held_ids()
    assert (held[behind.id], held[started[0].id]) == ("ready", "inflight")
    assert await agrees(stage)


async def test_b11_the_first_page_of_every_pool_comes_before_the_rest_of_any(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "FIRST_PAGE", 2)
    await stage.store(*[make_job(pool=pool, updated_at=LONG_AGO) for pool in ("a", "b") for _ in range(5)])
    order: list[tuple[str, int]] = []
    refill = stage.parts.queue.refill

    async def watched(pool: str, entries: Any) -> int:
        order.append((pool, len(entries)))
        return await refill(pool, entries)

    monkeypatch.setattr(stage.parts.queue, "refill", watched)
    await duty_of(stage).run_once()
    assert order[:2] == [("a", 2), ("b", 2)]


async def test_a_rebuild_that_may_not_go_on_completes_nothing(stage: Stage) -> None:
    await backlog(stage, waiting=10, running=0)
    await RebuildDuty(stage.parts, stage.pools, go_on=lambda: False).run_once()
    assert not await stage.parts.queue.is_complete(POOL)
    await duty_of(stage).run_once()
    assert await agrees(stage)


async def test_a_second_pass_that_may_not_go_on_completes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "CHANGED_PAGE", 2)
    now = await stage.parts.reconcile.now()
    await stage.store(*[make_job(updated_at=now - timedelta(milliseconds=n)) for n in range(5)])
    answers = iter([True, False])
    duty = RebuildDuty(stage.parts, stage.pools, go_on=lambda: next(answers))
    assert await duty.run_once() == {}
    assert not await stage.parts.queue.is_complete(POOL)


async def test_a_page_that_redis_refuses_ends_the_rebuild_with_its_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 10)
    await backlog(stage, waiting=40, running=0)
    refill, calls = stage.parts.queue.refill, iter(range(100))

    async def sometimes(pool: str, entries: Any) -> int:
        if next(calls) == 2:
            raise StoreUnavailableError("once")
        return await refill(pool, entries)

    monkeypatch.setattr(stage.parts.queue, "refill", sometimes)
    with pytest.raises(StoreUnavailableError, match="once"):
        await duty_of(stage).run_once()
    assert not await stage.parts.queue.is_complete(POOL)
    await duty_of(stage).run_once()
    assert await agrees(stage)


async def test_a_rebuild_that_fails_again_and_again_ends_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pass gets further than three pages; each goes on where the one before was. What came behind it is not lost."""
    monkeypatch.setattr(rebuild, "PAGE", 10)
    monkeypatch.setattr(rebuild, "FIRST_PAGE", 1)
    await backlog(stage, waiting=100, running=3)
    refill, calls, duty = stage.parts.queue.refill, 0, duty_of(stage)

    async def sometimes(pool: str, entries: Any) -> int:
        nonlocal calls
        calls += 1
        if calls % 4 == 0:
            raise StoreUnavailableError("again")
        return await refill(pool, entries)

    monkeypatch.setattr(stage.parts.queue, "refill", sometimes)
    passes = 0
    while not await stage.parts.queue.is_complete(POOL):
        passes += 1
        try:
            await duty.run_once()
        except StoreUnavailableError:
            behind = make_job(priority=Priority.HIGH, created_at=LONG_AGO, updated_at=await stage.parts.reconcile.now())
            await stage.store(behind)
        assert passes < 8
    assert passes > 2
    assert await agrees(stage)


async def test_after_another_loss_a_rebuild_begins_at_the_beginning(
    own_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 10)
    await backlog(own_stage, waiting=40, running=1)
    answers = iter([True, True, False])
    duty = RebuildDuty(own_stage.parts, own_stage.pools, go_on=lambda: next(answers, True))
    assert await duty.run_once() == {}
    await own_stage.redis.flushall()
    assert await duty.run_once() == {"rebuilt": 41, "pool_rebuilt": 1}
    assert await agrees(own_stage)


async def test_a_pool_that_cannot_begin_does_not_keep_the_others_empty(stage: Stage) -> None:
    await stage.job(pool="a-broken")
    job = await stage.job()
    await stage.redis.set(stage.keys.inflight.replace(POOL, "a-broken"), "not a zset")
    with pytest.raises(StoreUnavailableError, match="not a zset"):
        await duty_of(stage).run_once()
    assert await stage.held_ids() == {job.id: "ready"}
    assert await stage.parts.queue.is_complete(POOL)


async def test_c11_two_rebuilds_at_once_add_each_id_once(stage: Stage) -> None:
    await backlog(stage, waiting=3000, running=10)
    await asyncio.gather(duty_of(stage).run_once(), duty_of(stage).run_once())
    assert await agrees(stage)


async def test_a_rebuild_reads_waiting_jobs_out_of_the_index_alone(stage: Stage) -> None:
    """A million documents would take ten times as long; a field too many in the query, and this is lost."""
    await backlog(stage, waiting=50, running=0)
    now = await stage.parts.reconcile.now()
    plan = await stage.parts.database.handle.command(
        "explain",
        {
            "find": "jobs",
            "filter": {"pool": POOL, "state": "queued", "run_at": {"$lte": now}},
            "projection": {"score": 1},
            "sort": {"score": 1},
        },
        verbosity="executionStats",
    )
    stats = plan["executionStats"]
    assert (stats["nReturned"], stats["totalKeysExamined"], stats["totalDocsExamined"]) == (50, 50, 0)
