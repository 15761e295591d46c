"""Redis emptied, restarted, restored: whatever it holds, a rebuild ends with MongoDB's ids, each once."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest
from pydantic import SecretStr
from recovery_stage import LONG_AGO, POOL, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.job import Job, Priority
from headrace.contracts.states import JobState
from headrace.local.stores import MongoServer, RedisServer
from headrace.recovery import rebuild
from headrace.recovery.full import FullPass
from headrace.recovery.rebuild import RebuildDuty
from headrace.runtime.process import failpoints
from headrace.runtime.process.ids import new_token
from headrace.testing.builders import make_job
from headrace.testing.eventually import eventually

PRIORITIES = (Priority.HIGH, Priority.MEDIUM, Priority.LOW)


def duty_of(stage: Stage) -> RebuildDuty:
    return RebuildDuty(stage.parts, stage.pools)


async def backlog(stage: Stage, *, waiting: int, running: int) -> list[Job]:
    """Pending jobs in MongoDB, none of them changed lately."""
    values: dict[str, Any] = {"state": JobState.PROCESSING, "attempt": 1, "owner": "w-1", "claim_token": "t1"}
    values |= {"claimed_at": LONG_AGO, "updated_at": LONG_AGO}
    jobs = [make_job(priority=PRIORITIES[n % 3], updated_at=LONG_AGO) for n in range(waiting)]
    jobs += [make_job(**values) for _ in range(running)]
    for first in range(0, len(jobs), 1000):
        await stage.store(*jobs[first : first + 1000])
    return jobs


async def pending_ids(stage: Stage) -> set[str]:
    documents = stage.parts.database.jobs.find({"state": {"$in": ["queued", "processing"]}}, {"_id": 1})
    return {document["_id"] async for document in documents}


async def agrees(stage: Stage) -> bool:
    """I6: Redis' ids are MongoDB's pending ones, each once; and the pool says that it is complete."""
    assert set(await stage.held_ids()) == await pending_ids(stage)
    return await stage.parts.queue.is_complete(POOL)


async def drain(stage: Stage) -> list[str]:
    """Every id that can be claimed, in the order of the claims."""
    ids: list[str] = []
    while claimed := (await stage.parts.queue.claim(POOL, token=new_token(), count=100)).ids:
        ids += claimed
    return ids


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
    enqueue = stage.parts.queue.enqueue

    async def watched(pool: str, entries: Any) -> int:
        seen.append((await stage.parts.queue.depths(pool)).paused)
        return await enqueue(pool, entries)

    monkeypatch.setattr(stage.parts.queue, "enqueue", watched)
    await duty_of(stage).run_once()
    assert seen
    assert all(seen)
    assert await drain(stage) == []


async def test_b12_a_pause_that_mongodb_does_not_know_is_lifted(stage: Stage) -> None:
    job = await stage.job()
    await stage.parts.queue.pause(POOL, True, "from an old snapshot")
    await duty_of(stage).run_once()
    assert await drain(stage) == [job.id]


async def test_b11_what_comes_behind_the_walk_is_added_by_the_second_pass(stage: Stage) -> None:
    await backlog(stage, waiting=10, running=0)
    failpoints.install("during_rebuild=sleep:400,once")
    try:
        rebuilding = asyncio.create_task(duty_of(stage).run_once())
        await asyncio.sleep(0.2)
        behind = make_job(priority=Priority.HIGH, created_at=LONG_AGO, updated_at=await stage.parts.reconcile.now())
        await stage.store(behind)
        started = await stage.running(updated_at=await stage.parts.reconcile.now())
        await rebuilding
    finally:
        failpoints.install("")
    held = await stage.held_ids()
    assert (held[behind.id], held[started.id]) == ("ready", "inflight")
    assert await agrees(stage)


async def test_b11_the_first_page_of_every_pool_comes_before_the_rest_of_any(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "FIRST_PAGE", 2)
    await stage.store(*[make_job(pool=pool, updated_at=LONG_AGO) for pool in ("a", "b") for _ in range(5)])
    order: list[tuple[str, int]] = []
    enqueue = stage.parts.queue.enqueue

    async def watched(pool: str, entries: Any) -> int:
        order.append((pool, len(entries)))
        return await enqueue(pool, entries)

    monkeypatch.setattr(stage.parts.queue, "enqueue", watched)
    await duty_of(stage).run_once()
    assert order[:2] == [("a", 2), ("b", 2)]


async def test_a_rebuild_that_may_not_go_on_completes_nothing(stage: Stage) -> None:
    await backlog(stage, waiting=10, running=0)
    await RebuildDuty(stage.parts, stage.pools, go_on=lambda: False).run_once()
    assert not await stage.parts.queue.is_complete(POOL)
    await duty_of(stage).run_once()
    assert await agrees(stage)


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


@pytest.mark.parametrize("loss", ["restart", "flush"])
async def test_hazard_19_an_emptied_redis_is_noticed_and_filled(
    own_stage: Stage, own_redis: RedisServer, loss: str
) -> None:
    """(a) a restart on an empty folder, (b) FLUSHALL; 5,000 waiting and 50 running, whose attempts stay theirs."""
    stage = own_stage
    jobs = await backlog(stage, waiting=5000, running=50)
    duty = duty_of(stage)
    await duty.run_once()
    assert await agrees(stage)
    if loss == "restart":
        await asyncio.to_thread(own_redis.kill)
        await asyncio.to_thread(own_redis.wipe)
        await asyncio.to_thread(own_redis.start)
    else:
        await stage.redis.flushall()

    async def rebuilt() -> bool:
        try:
            return bool(await duty.run_once())
        except StoreUnavailableError:  # connections of the old server
            return False

    await eventually(rebuilt, within=20)
    assert await agrees(stage)
    for job in jobs[5000:5003]:
        after = await stage.document(job.id)
        assert (after.state, after.attempt, after.owner) == (JobState.PROCESSING, 1, "w-1")


async def test_hazard_19_a_flush_in_the_middle_of_a_rebuild_is_no_end(own_stage: Stage) -> None:
    """(c) The first pages are gone, so the rebuild must not declare the pool complete; the next one does."""
    stage = own_stage
    await backlog(stage, waiting=5000, running=50)
    duty = duty_of(stage)
    failpoints.install("before_finish_rebuild=sleep:600,once")
    try:
        first = asyncio.create_task(duty.run_once())
        await eventually(lambda: stage.redis.zcard(stage.keys.ready))
        await asyncio.sleep(0.1)
        await stage.redis.flushall()
        await first
    finally:
        failpoints.install("")
    await eventually(duty.run_once)
    assert await agrees(stage)


async def test_hazard_20_an_old_copy_of_redis_is_brought_up_to_date(
    own_config: JobConfig, own_redis: RedisServer
) -> None:
    """Jobs that ended since the copy are ghosts, those that came since are missing; afterwards neither is."""
    copy = own_redis.folder / "old.rdb"
    dump = own_redis.folder / "dump.rdb"
    async with open_stage(own_config) as stage:
        old = await backlog(stage, waiting=20, running=0)
        await duty_of(stage).run_once()
        await stage.redis.save()
        shutil.copy(dump, copy)
        ended = [job.id for job in old[:10]]
        over = {"$set": {"state": "completed"}}
        await stage.parts.database.jobs.update_many({"_id": {"$in": ended}}, over)
        await stage.parts.queue.settle(POOL, ended)
        started = old[10]
        run = {"state": "processing", "owner": "w-1", "claim_token": "t9", "claimed_at": LONG_AGO, "attempt": 1}
        await stage.parts.database.jobs.update_one({"_id": started.id}, {"$set": run})
        new = [await stage.job() for _ in range(5)]
        await stage.enqueue(*new)
    await asyncio.to_thread(own_redis.kill)
    shutil.copy(copy, dump)
    await asyncio.to_thread(own_redis.start)
    async with open_stage(own_config) as stage:
        held = await stage.held_ids()
        assert set(ended) <= set(held), "the ghosts are back"
        assert not await stage.parts.queue.is_complete(POOL), "another run id"
        await duty_of(stage).run_once()
        full = FullPass(stage.parts, stage.pools, stage.mender)
        assert await full.run_once() == {"ghost": 10}
        assert await agrees(stage)
        assert await full.run_once() == {}
    dump.unlink()


async def test_hazard_21_a_full_redis_is_filled_when_it_has_room_again(own_stage: Stage) -> None:
    stage = own_stage
    await backlog(stage, waiting=20, running=1)
    await stage.redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match="full"):
        await duty_of(stage).run_once()
    await stage.redis.config_set("maxmemory", 0)
    await duty_of(stage).run_once()
    assert await agrees(stage)


async def test_hazard_26_a_primary_that_steps_down_in_the_middle_costs_a_second_try(
    own_config: JobConfig, own_mongo: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 200)
    config = own_config.model_copy(update={"mongo_url": SecretStr(own_mongo.url)})
    async with open_stage(config) as stage:
        await backlog(stage, waiting=2000, running=5)
        with own_mongo.client() as client:
            client.admin.command(
                "configureFailPoint",
                "failCommand",
                mode={"skip": 6},
                data={"failCommands": ["getMore", "find"], "errorCode": 189, "appName": "recovery"},
            )
            with pytest.raises(StoreUnavailableError):
                await duty_of(stage).run_once()
            assert not await stage.parts.queue.is_complete(POOL)
            client.admin.command("configureFailPoint", "failCommand", mode="off")

        async def rebuilt() -> bool:
            try:
                await duty_of(stage).run_once()
            except StoreUnavailableError:
                return False
            return await stage.parts.queue.is_complete(POOL)

        await eventually(rebuilt)
        assert await agrees(stage)


async def test_hazard_27_a_rebuild_under_claims_hands_no_id_out_twice(own_stage: Stage) -> None:
    """Workers claim, complete and settle while it runs: at the end both agree, and no attempt rose twice."""
    stage = own_stage
    await stage.worker()
    await backlog(stage, waiting=3000, running=0)
    ended: list[str] = []
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            token = new_token()
            ids = (await stage.parts.queue.claim(POOL, token=token, count=20)).ids
            for job in await stage.parts.jobs.claim(ids, token=token, owner="w-1", types=["noop"]):
                await stage.parts.database.jobs.update_one(
                    {"_id": job.id, "state": "processing", "attempt": job.attempt}, {"$set": {"state": "completed"}}
                )
                ended.append(job.id)
            await stage.parts.queue.settle(POOL, ids)
            await asyncio.sleep(0.01)

    working = asyncio.create_task(work())
    await duty_of(stage).run_once()
    await eventually(lambda: len(ended) > 100, within=30)
    stop.set()
    await working
    assert len(ended) == len(set(ended))
    assert await stage.parts.database.jobs.count_documents({"attempt": {"$gt": 1}}) == 0
    await FullPass(stage.parts, stage.pools, stage.mender).run_once()
    assert await agrees(stage)
