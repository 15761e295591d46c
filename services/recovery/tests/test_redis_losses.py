"""Redis emptied, restarted, restored, full: a rebuild ends with MongoDB's ids, each once."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from pydantic import SecretStr
from recovery_backlog import agrees, at_failpoint, backlog, duty_of
from recovery_stage import LONG_AGO, POOL, Stage, open_stage

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import StoreUnavailableError
from headrace.contracts.states import JobState
from headrace.local.stores import MongoServer, RedisServer
from headrace.recovery import rebuild
from headrace.recovery.full import FullPass
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.rebuild import MAX_LATE_SECONDS
from headrace.runtime.process.ids import new_token
from headrace.testing.eventually import eventually


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


async def test_hazard_19_a_flush_in_the_middle_of_a_rebuild_is_no_end(
    own_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(c) The first pages are gone, so the rebuild must not declare the pool complete; the next one does."""
    stage = own_stage
    await backlog(stage, waiting=5000, running=50)
    at_failpoint(monkeypatch, "before_finish_rebuild", stage.redis.flushall)
    assert await duty_of(stage).run_once() == {}
    assert not await stage.parts.queue.is_complete(POOL)
    assert await duty_of(stage).run_once() == {"rebuilt": 5050, "pool_rebuilt": 1}
    assert await agrees(stage)


async def test_hazard_19_a_frozen_redis_that_wakes_does_not_end_a_rebuild_without_what_came_meanwhile(
    own_stage: Stage, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(d) The last command of a rebuild lies in its socket while jobs are stored; what it does late is too late."""
    stage = own_stage
    await backlog(stage, waiting=20, running=2)
    await stage.complete("another")  # Redis must know the script, or it refuses what it takes late

    async def freeze() -> None:
        own_redis.pause()

    at_failpoint(monkeypatch, "before_finish_rebuild", freeze)
    duty = duty_of(stage)
    try:
        with pytest.raises(StoreUnavailableError):
            await duty.run_once()
        await stage.job()  # nobody could push it
        await asyncio.sleep(MAX_LATE_SECONDS)
    finally:
        own_redis.resume()

    async def answers() -> bool:
        try:
            return not await stage.parts.queue.is_complete(POOL)
        except StoreUnavailableError:
            return False

    await eventually(answers)
    assert await duty.run_once() == {"rebuilt": 23, "pool_rebuilt": 1}
    assert await agrees(stage)


async def test_hazard_12_two_leaders_after_a_flush_bring_about_the_same(
    own_stage: Stage, own_config: JobConfig
) -> None:
    """Each believes that it leads: orphans, sweep, rebuild and full pass, all at once and twice."""
    stage = own_stage
    pending = await backlog(stage, waiting=500, running=20)
    await stage.redis.flushall()
    async with open_stage(own_config) as other:
        for _ in range(2):
            await asyncio.gather(
                *(OrphanDuty(one.parts).run_once() for one in (stage, other)),
                *(duty_of(one).run_once() for one in (stage, other)),
                *(FullPass(one.parts, one.pools, one.mender).run_once() for one in (stage, other)),
            )
        for one in (stage, other):
            await FullPass(one.parts, one.pools, one.mender).run_once()
    assert set(await stage.held_ids()) == {job.id for job in pending}
    assert await stage.parts.queue.is_complete(POOL)
    for job in pending[500:]:
        after = await stage.document(job.id)
        assert (after.state, after.crashes, len(after.log)) == (JobState.QUEUED, 1, 2), "handed back once"


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
